// yazl. To a pipe: files as streams of unknown size.
import { createReadStream } from "node:fs";
import { Readable } from "node:stream";
import yazl from "yazl";
import { isFolder, names, pipe, stored, stream, zip64 } from "./task.js";

const zip = new yazl.ZipFile();
const options = { compress: !stored, forceZip64Format: zip64 };
for (const name of names) {
  if (isFolder(name)) zip.addEmptyDirectory(name);
  else if (pipe) zip.addReadStream(createReadStream(name), name, options);
  else zip.addFile(name, name, options);
}
zip.end({ forceZip64Format: zip64 });
await stream(Readable.from(zip.outputStream));
