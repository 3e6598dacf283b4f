// zip.js. To a pipe: files as streams of unknown size.
import fs from "node:fs";
import { Readable } from "node:stream";
import { Uint8ArrayReader, ZipWriter, terminateWorkers } from "@zip.js/zip.js";
import { isFolder, names, pipe, read, stored, stream, zip64 } from "./task.js";

const { readable, writable } = new TransformStream();
const done = stream(Readable.fromWeb(readable));
const zip = new ZipWriter(writable, { level: stored ? 0 : 6, useWebWorkers: false, ...(zip64 && { zip64 }) });
for (const name of names) {
  if (isFolder(name)) await zip.add(name, undefined, { directory: true });
  else await zip.add(name, pipe ? Readable.toWeb(fs.createReadStream(name)) : new Uint8ArrayReader(new Uint8Array(read(name))));
}
await zip.close();
await done;
await terminateWorkers?.();
