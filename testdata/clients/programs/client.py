"""Sends the upload with a Python library. The mode is the argument.

All programs of this folder are told by the environment what to send, and print what
came of it in the same way: see run.go.
"""

import asyncio
import os
import ssl
import sys
import urllib.error
import urllib.request

URL, ARCHIVE = os.environ["URL"], os.environ["ARCHIVE"]
FORM, FORM_TYPE = os.environ["FORM"], os.environ["FORM_TYPE"]
HEADERS = {"Auth-Token": os.environ["TOKEN"]} if os.environ["TOKEN"] else {}
FORM_HEADERS = {**HEADERS, "Content-Type": FORM_TYPE}


def say(key, value):
    print(f"{key}: {' '.join(str(value).split())}")


def requests_answer(response):
    import requests

    say("status", response.status_code)
    say("body", response.text)
    try:
        response.raise_for_status()
    except requests.HTTPError as e:
        say("shown", e)


def requests_files():
    import requests

    requests_answer(requests.post(URL, headers=HEADERS, files={"symbols.zip": open(ARCHIVE, "rb")}))


def requests_file():
    import requests

    requests_answer(requests.post(URL, headers=FORM_HEADERS, data=open(FORM, "rb")))


def requests_chunked():
    import requests

    def pieces():
        with open(FORM, "rb") as form:
            while piece := form.read(1 << 20):
                yield piece

    requests_answer(requests.post(URL, headers=FORM_HEADERS, data=pieces()))


def upload_symbols():
    """The calls of mozilla-central's upload_symbols.py, and what it logs."""
    import requests

    response = requests.post(
        URL, headers=HEADERS, files={"symbols.zip": open(ARCHIVE, "rb")}, allow_redirects=False, timeout=(300, 300)
    )
    say("status", response.status_code)
    say("body", response.text)
    say("shown", f"{response.status_code} {response.reason} {response.text}")


def httpx_files():
    import httpx

    with open(ARCHIVE, "rb") as archive:
        response = httpx.post(URL, headers=HEADERS, files={"symbols.zip": archive}, timeout=300)
    say("status", response.status_code)
    say("body", response.text)
    try:
        response.raise_for_status()
    except httpx.HTTPStatusError as e:
        say("shown", e)


def aiohttp_form():
    import aiohttp

    async def send():
        form = aiohttp.FormData()
        form.add_field("symbols.zip", open(ARCHIVE, "rb"), filename="symbols.zip")
        context = ssl.create_default_context(cafile=os.environ["SSL_CERT_FILE"])
        async with aiohttp.ClientSession() as session:
            async with session.post(URL, headers=HEADERS, data=form, ssl=context) as response:
                say("status", response.status)
                say("body", await response.text())
                try:
                    response.raise_for_status()
                except aiohttp.ClientResponseError as e:
                    say("shown", e)

    asyncio.run(send())


def urllib_file():
    headers = {**FORM_HEADERS, "Content-Length": str(os.path.getsize(FORM))}
    try:
        urllib.request.urlopen(urllib.request.Request(URL, data=open(FORM, "rb"), headers=headers))
    except urllib.error.HTTPError as e:
        say("status", e.code)
        say("body", e.read().decode())
        say("shown", e)


try:
    globals()[sys.argv[1]]()
except Exception as e:
    say("failed", f"{type(e).__name__}: {e}")
