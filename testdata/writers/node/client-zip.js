// client-zip, which streams and does not compress.
import { makeZip } from "client-zip";
import { isFolder, names, read, stream } from "./task.js";

await stream(makeZip(names.map((name) => (isFolder(name) ? { name } : { name, input: read(name) }))));
