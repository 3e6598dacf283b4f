"""Python's zipfile."""
import os, sys, zipfile

mode, archive, *names = sys.argv[1:]
method = zipfile.ZIP_STORED if mode.startswith("stored") else zipfile.ZIP_DEFLATED
target = sys.stdout.buffer if mode.endswith("pipe") else archive
with zipfile.ZipFile(target, "a" if mode == "update" else "w", method) as z:
    for name in names:
        if mode.startswith("zip64") and not name.endswith("/"):
            info = zipfile.ZipInfo.from_file(name)
            info.compress_type = method
            with z.open(info, "w", force_zip64=True) as entry, open(name, "rb") as f:
                entry.write(f.read())
        else:
            z.write(name)
