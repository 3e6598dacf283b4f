// archiver, which streams.
import { createReadStream } from "node:fs";
import { ZipArchive } from "archiver";
import { isFolder, names, stored, stream, zip64 } from "./task.js";

const zip = new ZipArchive({ store: stored, forceZip64: zip64 });
const done = stream(zip);
for (const name of names) {
  if (isFolder(name)) zip.append("", { name });
  else zip.append(createReadStream(name), { name });
}
await zip.finalize();
await done;
