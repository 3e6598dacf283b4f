// jszip. To a pipe: with streamFiles.
import JSZip from "jszip";
import { isFolder, archive, mode, names, pipe, read, stored, stream } from "./task.js";

const zip = mode === "update" ? await JSZip.loadAsync(read(archive)) : new JSZip();
for (const name of names) {
  if (isFolder(name)) zip.file(name, null, { dir: true });
  else zip.file(name, read(name), { createFolders: false });
}
if (mode === "update") zip.remove(process.env.DELETE);
await stream(zip.generateNodeStream({ streamFiles: pipe, compression: stored ? "STORE" : "DEFLATE" }));
