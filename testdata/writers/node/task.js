// What each script here is told: MODE ARCHIVE NAME...
import fs from "node:fs";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";

export const [mode, archive, ...names] = process.argv.slice(2);
export const stored = mode.startsWith("stored");
export const zip64 = mode.startsWith("zip64");
export const pipe = mode.endsWith("pipe");

export const isFolder = (name) => name.endsWith("/");
export const read = (name) => fs.readFileSync(name);

// stream writes the archive from a stream, or from an iterable of chunks.
export const stream = (source) =>
  pipeline(source.pipe ? source : Readable.from(source), pipe ? process.stdout : fs.createWriteStream(archive));
