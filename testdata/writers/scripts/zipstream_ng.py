"""zipstream-ng for Python, which streams."""
import sys, zipfile
from zipstream import ZipStream

mode, archive, *names = sys.argv[1:]
z = ZipStream(compress_type=zipfile.ZIP_STORED if mode.startswith("stored") else zipfile.ZIP_DEFLATED)
for name in names:
    z.add_path(name, name, recurse=False)
with sys.stdout.buffer if mode.endswith("pipe") else open(archive, "wb") as out:
    out.writelines(z)
