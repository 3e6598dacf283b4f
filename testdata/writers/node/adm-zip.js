// adm-zip.
import fs from "node:fs";
import AdmZip from "adm-zip";
import { archive, isFolder, mode, names, read, stored } from "./task.js";

const zip = mode === "update" ? new AdmZip(archive) : new AdmZip();
for (const name of names) {
  if (mode === "update" && zip.getEntry(name)) zip.updateFile(name, read(name));
  else zip.addFile(name, isFolder(name) ? Buffer.alloc(0) : read(name));
  if (stored) zip.getEntry(name).header.method = 0;
}
if (mode === "update") zip.deleteFile(process.env.DELETE);
fs.writeFileSync(archive, zip.toBuffer());
