"""MLflow's scoring server for pictures as people have them: files and base64, beside arrays."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from email.message import Message
from email.parser import BytesParser
from typing import Any, cast

from tuner.registry.package import PackagedDetector

MODEL = "TUNER_SERVED_MODEL"
"""The variable of the environment that names the folder of the MLflow model."""

PATH = "/invocations"
_TEXTS = re.compile(rb'"images"\s*:|"inputs"\s*:\s*\[?\s*"')
_ARRAYS = ("application/json", "text/csv")
_YES = ("1", "true", "yes")


@dataclass(frozen=True)
class Asked:
    """The files that a request holds, and whether it wants heat maps."""

    images: Sequence[bytes]
    maps: bool = False


def create() -> Any:
    """The application that uvicorn runs: MLflow's, which takes pictures, too.

    `POST /invocations` takes `{"inputs": uint8 [B, H, W, 3]}` as MLflow does; a file as it is;
    files as `multipart/form-data`; and `{"images": [base64, ...]}`. Arrays are answered with heat
    maps, as ever; pictures where `map` is asked for, in the address, the form or the JSON.
    """
    from tuner.tracking.store import quiet_mlflow

    mlflow = quiet_mlflow()
    from mlflow.pyfunc import scoring_server

    model = mlflow.pyfunc.load_model(os.environ[MODEL])
    packaged: PackagedDetector = model.get_raw_model()
    schema = model.metadata.get_input_schema()
    app = scoring_server.init(model)

    def answer(body: bytes, kind: str, wanted: bool) -> tuple[int, str]:
        try:
            asked = asked_of(body, kind)
            if asked is None:
                said = scoring_server.invocations(body, kind, model, schema)
                return said.status, said.response
            return 200, judged(packaged, asked, wanted)
        except mlflow.MlflowException as error:
            return error.get_http_status_code(), error.serialize_as_json()
        except ValueError as error:
            said = {"error_code": "BAD_REQUEST", "message": str(error)}
            return 400, json.dumps(said)

    async def invocations(request: Any) -> Any:
        from starlette.responses import Response

        kind = request.headers.get("content-type", "application/octet-stream")
        wanted = request.query_params.get("map", "").lower() in _YES
        status, text = await asyncio.to_thread(answer, await request.body(), kind, wanted)
        return Response(text, status, media_type="application/json")

    app.router.routes[:] = [r for r in app.router.routes if getattr(r, "path", "") != PATH]
    app.add_route(PATH, invocations, methods=["POST"])
    return app


def judged(packaged: PackagedDetector, asked: Asked, maps: bool = False) -> str:
    """The answer as JSON, in the form of MLflow's. Raises ValueError naming the image."""
    found = packaged.predict(list(asked.images), "package" if maps or asked.maps else "none")
    del found["image"]
    said = {name: values.tolist() for name, values in found.items()}
    if not packaged.package.threshold > 0:
        said["score_over_threshold"] = [None] * len(asked.images)
    return json.dumps({"predictions": said})


def asked_of(body: bytes, kind: str) -> Asked | None:
    """The pictures of a request with a content type; None for arrays, which MLflow reads.

    Raises ValueError for what holds no picture, without repeating the content.
    """
    head = Message()
    head["content-type"] = kind
    plain = head.get_content_type()
    if plain == "multipart/form-data":
        return _form(body, kind)
    if plain in _ARRAYS:
        return _texts(body) if plain == _ARRAYS[0] and _TEXTS.search(body) else None
    if not body:
        raise ValueError("the request is empty; send the content of an image file")
    return Asked([body])


def _form(body: bytes, kind: str) -> Asked:
    whole = BytesParser().parsebytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + body)
    images, maps = list[bytes](), False
    for part in cast("list[Message]", whole.get_payload()) if whole.is_multipart() else []:
        content = bytes(part.get_payload(decode=True) or b"")
        if part.get_param("name", header="content-disposition") == "map":
            maps = content.decode(errors="replace").strip().lower() in _YES
        else:
            images.append(content)
    if not images:
        raise ValueError("the form holds no image; send one by: curl -F image=@part.png")
    return Asked(images, maps)


def _texts(body: bytes) -> Asked | None:
    """Pictures as base64, alone or behind the head of a data address."""
    try:
        asked = json.loads(body)
    except ValueError as error:
        raise ValueError(f"the request is no JSON: {error}") from None
    texts = asked.get("images", asked.get("inputs"))
    texts = [texts] if isinstance(texts, str) else texts
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ValueError('"images" must be a list of texts, each an image file as base64')
    parameters = asked.get("params") or {}
    return Asked(
        [_file(text, index) for index, text in enumerate(texts)],
        bool(asked.get("map", parameters.get("map", False))),
    )


def _file(text: str, index: int) -> bytes:
    encoded = text.partition(",")[2] if text.startswith("data:") else text
    try:
        return base64.b64decode("".join(encoded.split()), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"image {index} is not base64") from None
