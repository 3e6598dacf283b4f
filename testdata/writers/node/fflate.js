// fflate. To a pipe: its streaming writer.
import { Zip, ZipDeflate, ZipPassThrough, zipSync } from "fflate";
import { isFolder, names, pipe, read, stored, stream } from "./task.js";

function streamed() {
  const chunks = [];
  const zip = new Zip((err, chunk) => {
    if (err) throw err;
    chunks.push(chunk);
  });
  for (const name of names) {
    const file = stored || isFolder(name) ? new ZipPassThrough(name) : new ZipDeflate(name);
    zip.add(file);
    file.push(isFolder(name) ? new Uint8Array() : read(name), true);
  }
  zip.end();
  return chunks;
}

const content = (name) => (isFolder(name) ? new Uint8Array() : new Uint8Array(read(name)));
const whole = () => [zipSync(Object.fromEntries(names.map((name) => [name, content(name)])), { level: stored ? 0 : 6 })];
await stream(pipe ? streamed() : whole());
