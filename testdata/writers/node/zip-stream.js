// zip-stream, which streams.
import { createReadStream } from "node:fs";
import { promisify } from "node:util";
import ZipStream from "zip-stream";
import { isFolder, names, stored, stream, zip64 } from "./task.js";

const zip = new ZipStream({ store: stored, forceZip64: zip64 });
const entry = promisify(zip.entry.bind(zip));
const done = stream(zip);
for (const name of names) await entry(isFolder(name) ? null : createReadStream(name), { name });
zip.finish();
await done;
