// Sends the upload with a library for Node.js. The mode is the argument. See run.go.

import { createReadStream, openAsBlob } from "node:fs";
import { Readable } from "node:stream";

const { URL: url, TOKEN: token, ARCHIVE: archive, FORM: form, FORM_TYPE: formType } = process.env;
const headers = token ? { "Auth-Token": token } : {};

function say(key, value) {
  console.log(`${key}: ${String(value).replace(/\s+/g, " ")}`);
}

async function fetchForm() {
  const data = new FormData();
  data.set("symbols.zip", await openAsBlob(archive), "symbols.zip");
  const response = await fetch(url, { method: "POST", headers, body: data });
  say("status", response.status);
  say("body", await response.text());
}

async function fetchStream() {
  const body = Readable.toWeb(createReadStream(form));
  const response = await fetch(url, { method: "POST", headers: { ...headers, "Content-Type": formType }, body, duplex: "half" });
  say("status", response.status);
  say("body", await response.text());
}

async function packageForm() {
  const { default: FormData } = await import("form-data");
  const data = new FormData();
  data.append("symbols.zip", createReadStream(archive));
  return data;
}

async function formData() {
  const data = await packageForm();
  const { protocol, hostname, port, pathname: path } = new URL(url);
  const response = await new Promise((resolve, reject) => {
    data.submit({ protocol, hostname, port, path, headers }, (error, response) => (error ? reject(error) : resolve(response)));
  });
  let text = "";
  for await (const piece of response.setEncoding("utf8")) {
    text += piece;
  }
  say("status", response.statusCode);
  say("body", text);
}

async function axios() {
  const { default: axios } = await import("axios");
  try {
    await axios.post(url, await packageForm(), { headers, maxBodyLength: Infinity });
  } catch (e) {
    if (!e.response) {
      throw e;
    }
    say("status", e.response.status);
    say("body", JSON.stringify(e.response.data));
    say("shown", e.message);
  }
}

async function got() {
  const { default: got } = await import("got");
  try {
    await got.post(url, { headers, body: await packageForm(), retry: { limit: 0 } });
  } catch (e) {
    if (!e.response) {
      throw e;
    }
    say("status", e.response.statusCode);
    say("body", e.response.body);
    say("shown", e.message);
  }
}

try {
  await { fetchForm, fetchStream, formData, axios, got }[process.argv[2]]();
} catch (e) {
  say("failed", [e, e.cause].filter(Boolean).join(": "));
}
process.exit(0);
