"""The API: images in, faces and probabilities out; the card; a page. Nothing that is sent is stored."""

from __future__ import annotations

import base64
import binascii
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from pydantic import BaseModel, Field, ValidationError
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException as HTTPError
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.middleware.cors import CORSMiddleware

from fer_bench.data import picture
from fer_bench.deploy.bundle import Bundle
from fer_bench.deploy.predicting import Predictor
from fer_bench.deploy.serving.guard import Guard, Limits, Turns, error
from fer_bench.errors import readable
from fer_bench.execution.environment import cores
from fer_bench.version import __version__

PAGE = Path(__file__).with_name("page")
PAGES = {"/": "index.html", "/docs": "docs.html", "/page.css": "page.css", "/page.js": "page.js", "/docs.js": "docs.js"}
MOST_IMAGES = 64
"""In one request."""


class FaceBox(BaseModel):
    """Of a face in an image, in pixels; it may reach beyond the image's edge."""

    left: int
    top: int
    width: int
    height: int


class FaceAnswer(BaseModel):
    """One face. box: null where the image was taken as one face. probabilities: calibrated, by class."""

    box: FaceBox | None
    expression: str
    probabilities: dict[str, float]


class ImageAnswer(BaseModel):
    """One image, its faces the largest first. problem: why it could not be read; no faces then."""

    name: str
    width: int | None = None
    height: int | None = None
    faces: list[FaceAnswer] = Field(default_factory=list)
    problem: str | None = None


class Answer(BaseModel):
    """What is said of the images, in the order in which they were sent."""

    images: list[ImageAnswer]


class Images(BaseModel):
    """Image files, each in base64."""

    images: list[str] = Field(min_length=1, max_length=MOST_IMAGES)


class ErrorText(BaseModel):
    """code: for programs; message: for people."""

    code: str
    message: str


class Error(BaseModel):
    """Every answer that is an error."""

    error: ErrorText


BODIES = {
    "multipart/form-data": {
        "schema": {
            "type": "object",
            "required": ["images"],
            "properties": {
                "images": {
                    "type": "array",
                    "minItems": 1,
                    "maxItems": MOST_IMAGES,
                    "items": {"type": "string", "format": "binary"},
                }
            },
        }
    },
    "application/json": {"schema": Images.model_json_schema()},
}


ANYWHERE = {
    400: "What was sent cannot be read",
    405: "Another method than those that are named here",
    421: "The server is called by a name that is not its own",
    500: "An error of the server's own",
    503: "Too much at once, or too slow: Retry-After says when to try again",
}
OF_BODIES = {
    413: "The body is too large",
    415: "The body is of another kind",
    422: "No image can be read, or a parameter is not as it should be",
}


def make_app(bundle: Bundle, limits: Limits | None = None, origins: Sequence[str] = ()) -> FastAPI:
    """The application. origins: pages elsewhere whose scripts may ask, as "https://example.org"."""
    app = FastAPI(
        title="fer_bench", version=__version__, docs_url=None, redoc_url=None,
        responses=_errors(ANYWHERE),
        description=f"{bundle.card['run']}: which expression faces show.",
    )  # fmt: skip
    limits = limits or Limits()
    turns = Turns(cores(), limits.patience)
    predictors = {find: Predictor(bundle, find=find) for find in (False, True)}
    described = {"requestBody": {"required": True, "content": BODIES}}

    @app.post("/predict", responses=_errors(OF_BODIES), openapi_extra=described)
    async def predict(request: Request, faces: bool = True) -> Answer:
        """Which expression each face shows. faces: whether to look for them; otherwise each image is one."""
        sent = await _sent(request)
        answers = await turns.do(partial(_looked_at, predictors[faces], name, content) for name, content in sent)
        if all(one.problem for one in answers):
            raise HTTPException(422, "; ".join(f"{one.name}: {one.problem}" for one in answers))
        return Answer(images=answers)

    @app.get("/model")
    async def model() -> dict[str, Any]:
        """The card of the model: its classes, origin, scores and limits."""
        return bundle.card

    @app.get("/health")
    async def health() -> dict[str, str]:
        """Whether the server answers, and with what."""
        return {"status": "ok", "run": str(bundle.card["run"])}

    for path, name in PAGES.items():
        app.get(path, include_in_schema=False)(_file(PAGE / name))
    app.add_exception_handler(HTTPError, _as_json)
    app.add_exception_handler(RequestValidationError, _as_json)
    app.add_middleware(Guard, limits=limits)
    if origins:
        app.add_middleware(CORSMiddleware, allow_origins=list(origins), allow_methods=["GET", "POST"])
    return app


def _errors(descriptions: dict[int, str]) -> dict[int | str, dict[str, Any]]:
    """Answers by status, as OpenAPI has them."""
    return {status: {"model": Error, "description": text} for status, text in descriptions.items()}


def _file(path: Path) -> Any:
    async def file() -> Response:
        return FileResponse(path)

    return file


async def _as_json(request: Request, problem: Exception) -> JSONResponse:
    """An error without a trace: what is ours to know is in the server's log."""
    if isinstance(problem, HTTPError):
        code = {404: "not_found", 405: "not_allowed", 415: "other_kind", 422: "unreadable"}.get(
            problem.status_code, "bad_request"
        )
        return JSONResponse(error(code, str(problem.detail)), problem.status_code, headers=problem.headers)
    assert isinstance(problem, RequestValidationError)
    first = problem.errors()[0]
    return JSONResponse(error("bad_request", f"{first['loc'][-1]}: {first['msg']}"), 422)


async def _sent(request: Request) -> list[tuple[str, bytes]]:
    """Name and content of each image of a request. Raises HTTPException where it has none, or too many."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        return _of_json(await request.body())
    if kind != "multipart/form-data":
        raise HTTPException(415, "send multipart/form-data with files called images, or JSON with images in base64")
    try:
        parser = MultiPartParser(request.headers, request.stream(), max_files=MOST_IMAGES, max_fields=MOST_IMAGES)
        parser.spool_max_size = sys.maxsize  # the guard bounds bodies: nothing of them goes to disk
        form = await parser.parse()
    except (MultiPartException, HTTPError, ValueError, KeyError) as problem:
        raise HTTPException(400, f"the form cannot be read ({getattr(problem, 'detail', problem)})") from None
    files = [one for one in form.getlist("images") if isinstance(one, UploadFile)]
    if not files:
        raise HTTPException(400, "the form has no file called images")
    return [(readable(file.filename or "image"), await file.read()) for file in files]


def _of_json(body: bytes) -> list[tuple[str, bytes]]:
    try:
        sent = Images.model_validate_json(body)
        contents = [base64.b64decode(text.rpartition(",")[2], validate=True) for text in sent.images]
    except ValidationError as problem:
        raise HTTPException(400, f"the JSON is not of that kind ({problem.errors()[0]['msg']})") from None
    except (binascii.Error, ValueError) as problem:
        raise HTTPException(400, f"an image is not base64 ({problem})") from None
    return [(f"image {number}", content) for number, content in enumerate(contents, start=1)]


def _looked_at(predictor: Predictor, name: str, content: bytes) -> ImageAnswer:
    try:
        image = picture(content, name)
    except ValueError as problem:
        return ImageAnswer(name=name, problem=str(problem))
    look = predictor.look(image)
    (rows,) = predictor.answers([look])
    names = predictor.bundle.classes
    faces = [
        FaceAnswer(
            box=box and FaceBox(**box._asdict()),
            expression=names[int(row.argmax())],
            probabilities=dict(zip(names, row.tolist(), strict=True)),
        )
        for box, row in zip(look.boxes, rows, strict=True)
    ]
    return ImageAnswer(name=name, width=image.shape[1], height=image.shape[0], faces=faces)
