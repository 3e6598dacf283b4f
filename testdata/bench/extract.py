"""What an extracting upload server does with an archive: spool, extract, hash,
compress each file beside itself, look whether it is stored, and store it."""

import concurrent.futures, datetime, gzip, hashlib, hmac, http.client, os, shutil, sys, threading, urllib.parse, zipfile

archive, folder, endpoint, bucket, access, secret = sys.argv[1:7]
host = urllib.parse.urlsplit(endpoint).netloc
local = threading.local()


def sign(method, path, headers):
    """AWS Signature Version 4, of a body that is not signed."""
    now = datetime.datetime.utcnow()
    stamp, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
    headers = dict(headers, **{"host": host, "x-amz-content-sha256": "UNSIGNED-PAYLOAD", "x-amz-date": stamp})
    names = sorted(headers)
    signed = ";".join(names)
    request = "\n".join([method, path, ""] + ["%s:%s" % (n, headers[n]) for n in names] + ["", signed, "UNSIGNED-PAYLOAD"])
    scope = "%s/us-east-1/s3/aws4_request" % day
    text = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(request.encode()).hexdigest()])
    key = ("AWS4" + secret).encode()
    for part in (day, "us-east-1", "s3", "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    headers["authorization"] = "AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=%s, Signature=%s" % (access, scope, signed, signature)
    return headers


def send(method, key, headers=None, body=None):
    path = urllib.parse.quote("/%s/%s" % (bucket, key))
    if not hasattr(local, "connection"):
        local.connection = http.client.HTTPConnection(host)
    local.connection.request(method, path, body=body, headers=sign(method, path, headers or {}))
    answer = local.connection.getresponse()
    answer.read()
    return answer.status


def put(name):
    path = os.path.join(folder, name)
    digest = hashlib.md5()
    with open(path, "rb") as f:
        for block in iter(lambda: f.read(1 << 20), b""):
            digest.update(block)
    headers = {"x-amz-meta-original_md5_hash": digest.hexdigest(), "x-amz-meta-original_size": str(os.path.getsize(path))}
    send("HEAD", "v1/" + name)
    if name.endswith(".sym"):
        with open(path, "rb") as f, gzip.open(path + ".gz", "wb", compresslevel=9) as g:
            shutil.copyfileobj(f, g, 1 << 20)
        path += ".gz"
        headers["content-encoding"] = "gzip"
    headers["content-length"] = str(os.path.getsize(path))
    with open(path, "rb") as f:
        status = send("PUT", "v1/" + name, headers, f)
    if status != 200:
        raise SystemExit("PUT %s: %d" % (name, status))


spooled = os.path.join(folder, "upload.zip")
shutil.copyfile(archive, spooled)
with zipfile.ZipFile(spooled) as z:
    z.extractall(folder)
    names = [n for n in z.namelist() if not n.endswith("/")]
with concurrent.futures.ThreadPoolExecutor(6) as pool:
    list(pool.map(put, names))
