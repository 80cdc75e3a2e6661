"""A storage server like Google's, as a separate process: ``python -m tests.bucket PORT BUCKET FOLDER``.

It is gcp-storage-emulator with four additions: conditions on an object's generation, which locks need; the
generation of an object that is read; ``moveTo``, which gcsfs renames with; and uploads that may be repeated.
"""

import contextlib
import functools
import http.server
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from http import HTTPStatus

from gcp_storage_emulator import server
from gcp_storage_emulator.exceptions import NotFound
from gcp_storage_emulator.handlers import buckets, objects
from gcp_storage_emulator.storage import Storage

from tests.conftest import ROOT, free_port

NAME = "bucket-of-tests"


REFUSALS = {
    "needs-credentials": (HTTPStatus.UNAUTHORIZED, "Anonymous caller does not have access"),
    "forbidden-bucket": (HTTPStatus.FORBIDDEN, "no permission storage.objects.create"),
    "overloaded-bucket": (HTTPStatus.SERVICE_UNAVAILABLE, "try again"),
}
"""Buckets in which every request fails."""


class _Storage(Storage):
    """Ignores bytes that it has, as Google's server does: a client whose answer was lost repeats them."""

    def add_to_resumable_upload(self, file_id, content, total_size=None, expected_start=None):
        known = self.get_resumable_byte_count(file_id)
        if expected_start is not None and expected_start < known:
            content, expected_start = (content or b"")[known - expected_start :], known
        return super().add_to_resumable_upload(file_id, content, total_size, expected_start)

    def create_file(self, bucket_name, file_name, content, file_obj, file_id=None):
        super().create_file(bucket_name, file_name, content, file_obj)  # and the upload stays known


def _generation(request, storage):
    name = request.params.get("object_id") or request.query.get("name", [""])[0]
    try:
        return storage.get_file_obj(request.params["bucket_name"], name)["generation"]
    except NotFound:
        return "0"


def _conditional(handler):
    @functools.wraps(handler)
    def answer(request, response, storage):
        if refusal := REFUSALS.get(request.params["bucket_name"]):
            response.status, message = refusal
            response.json({"error": {"code": refusal[0].value, "message": message}})
            return
        generation = _generation(request, storage)
        wanted, unwanted = (request.query.get(f"ifGeneration{x}Match", [None])[0] for x in ("", "Not"))
        if wanted not in (None, generation):
            response.status = HTTPStatus.PRECONDITION_FAILED
        elif unwanted == generation:
            response.status = HTTPStatus.NOT_MODIFIED
        else:
            handler(request, response, storage)
            if request.method == "GET":
                response["x-goog-generation"] = generation

    return answer


def _move(request, response, storage):
    request.params["dest_bucket_name"] = request.params["bucket_name"]
    objects.copy(request, response, storage)
    if response.status == HTTPStatus.OK:
        storage.delete_file(request.params["bucket_name"], request.params["object_id"])


_CONDITIONAL = {objects.insert, objects.get, objects.delete, objects.download, objects.ls}
server.HANDLERS = (
    (
        r"^/storage/v1/b/(?P<bucket_name>[-.\w]+)/o/(?P<object_id>.+)/moveTo/o/(?P<dest_object_id>.+)$",
        {"POST": _move},
    ),
    *(
        (path, {verb: _conditional(do) if do in _CONDITIONAL else do for verb, do in verbs.items()})
        for path, verbs in server.HANDLERS
    ),
)


class Server(http.server.HTTPServer):
    """A server in which many connections may wait, because it answers one after the other."""

    request_queue_size = 512


def serve(port, bucket, folder):
    """Serve one bucket until standard input ends. Its objects are kept in a folder."""
    storage = _Storage(data_dir=folder)
    with contextlib.suppress(buckets.Conflict):
        buckets.create_bucket(bucket, storage)
    handler = functools.partial(server.RequestHandler, storage)
    serving = Server(("127.0.0.1", int(port)), handler)
    threading.Thread(target=serving.serve_forever, daemon=True).start()
    sys.stdin.read()


class Emulator:
    """A server with one bucket, which a test can stop and start again."""

    def __init__(self, folder):
        self._folder, self._port = folder, free_port()
        self.address = f"http://127.0.0.1:{self._port}"
        self.start()

    def start(self):
        command = [sys.executable, "-m", "tests.bucket", str(self._port), NAME, str(self._folder)]
        nothing = subprocess.DEVNULL
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=nothing, stderr=nothing
        )
        while True:
            with contextlib.suppress(urllib.error.URLError):
                urllib.request.urlopen(self.address).close()
                return
            assert self._process.poll() is None
            time.sleep(0.05)

    def path(self, *names):
        """Return the file in which the server keeps an object."""
        return self._folder.joinpath(".cloudstorage", NAME, *names)

    def stop(self):
        self._process.kill()
        self._process.communicate()


if __name__ == "__main__":
    serve(*sys.argv[1:])
