"""Commands about using a model: export, predict, serve."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from fer_bench.cli.options import Plugin, Results, ResultsName, Weights
from fer_bench.cli.terminal import console, load_registered, reading_progress, say
from fer_bench.errors import FerBenchError

if TYPE_CHECKING:
    from fer_bench.deploy import Bundle

app = typer.Typer()
BundleFolder = Annotated[Path, typer.Argument(help="A bundle that `export` made.")]
Trust = Annotated[
    list[str] | None,
    typer.Option(help="A type that model.skops may hold; you are told of each.", metavar="TYPE"),
]
DetectorFile = Annotated[Path | None, typer.Option(help="Of faces: a cascade (.xml) or YuNet (.onnx).", metavar="FILE")]


@app.command(epilog="Example: `python -m fer_bench export cnn --name fer2013 --to my-model/`")
def export(
    models: Annotated[
        list[str] | None, typer.Argument(help="A model or a run id; without, what the leaderboard says to use.")
    ] = None,
    strategy: Annotated[str | None, typer.Option(help="Against imbalance; without, that picked on validation.")] = None,
    name: ResultsName = "synthetic",
    results: Results = Path("results"),
    to: Annotated[Path | None, typer.Option(help="New folder for the bundle, or for all that are compared.")] = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="Export several, and compare quality and latency.")
    ] = False,
    quantize: Annotated[
        Literal["int8"] | None, typer.Option(help="Multiply in int8: smaller; refused where answers change.")
    ] = None,
    format_: Annotated[
        Literal["onnx", "litert"], typer.Option("--format", help="onnx; litert: of networks a .tflite as well.")
    ] = "onnx",
    weights: Weights = "auto",
    plugin: Plugin = None,
) -> None:
    """Write a finished run as a folder that predicts without fer_bench, proven to answer as the run did."""
    from fer_bench.deploy import Source

    if to is None:
        raise FerBenchError("--to DIR: say where the bundle is to go")
    if len(models or ()) > 1 and not compare:
        raise FerBenchError(f"{len(models or ())} models: --compare exports and compares several")
    load_registered(plugin)
    source = Source.open(results / name, weights)
    from fer_bench.deploy import compare_bundles
    from fer_bench.deploy import export as export_run

    run_ids, problems, cards = list[str](), list[str](), dict[Path, dict[str, Any]]()
    for model in models or (None,):
        try:
            run_ids.append(source.choose(model, strategy))
        except FerBenchError as error:
            problems.append(str(error))
    if problems:
        raise FerBenchError("\n".join(problems))
    bundles = {run_id: to / run_id if compare else to for run_id in run_ids}
    with reading_progress() as progress:
        how: dict[str, Any] = {"quantize": bool(quantize), "litert": format_ == "litert", "progress": progress}
        for run_id, folder in bundles.items():
            try:
                cards[folder] = export_run(source, run_id, folder, **how)
            except FerBenchError as error:  # costs this one only
                problems.append(str(error))
    if not cards:
        raise FerBenchError("\n".join(problems))
    for folder, card in cards.items():
        say(*_about(folder, card))
    if compare:
        say("", *compare_bundles(to, list(cards.values())))
    if problems:
        console.print(f"{len(problems)} not exported:", style="red")
        say(*(f"  {problem}" for problem in problems))
        raise typer.Exit(1)


def _about(folder: Path, card: dict[str, Any]) -> list[str]:
    """What was exported, in a few lines."""
    test, proof, speed = card["scores"]["test"], card["parity"][card["arithmetic"]], card["latency"]
    low, high = test["intervals"]["macro_f1"]
    return [
        f"{folder}: {card['run']}, {card['megabytes']:.1f} MB, {card['arithmetic']}",
        f"  test: macro-F1 {test['macro_f1']:.3f} ({low:.3f} to {high:.3f}), accuracy {test['accuracy']:.1%}, "
        f"{test['n_images']:,} images",
        f"  as the run answered: {proof['same_answers']:.2%} of the answers, probabilities within "
        f"{proof['largest_difference']:.4f}",
        f"  {speed['one']:.1f} ms for one image, {1000 / speed['batch']:,.0f} a second in batches; "
        f"cores: {speed['cores']}",
    ]


@app.command(epilog="Example: `python -m fer_bench predict my-model/ photo.jpg clip.mp4 --faces --out predictions.csv`")
def predict(
    bundle: BundleFolder,
    paths: Annotated[list[Path] | None, typer.Argument(help="Pictures, videos, and folders of these.")] = None,
    faces: Annotated[bool, typer.Option("--faces", help="Find faces; without, each picture is one.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write all to a .csv or .json.", metavar="FILE")] = None,
    annotate: Annotated[Path | None, typer.Option(help="Write copies with boxes and bars.", metavar="DIR")] = None,
    smooth: Annotated[float, typer.Option(min=0, help="Average a face in a video over so many seconds.")] = 0.0,
    detector: DetectorFile = None,
    trust: Trust = None,
    camera: Annotated[int | None, typer.Option(min=0, help="Show this camera in a window.", metavar="NUMBER")] = None,
) -> None:
    """Say which expression faces show, in pictures, videos or before a camera; exit code 1 where something is amiss."""
    from fer_bench.deploy import Annotations, Predictor, check_out, in_words, show_camera, write_predictions

    if out:
        check_out(out)
    if bool(paths) == (camera is not None):
        raise FerBenchError("name pictures, videos or folders, or else a --camera")
    if camera is not None and (out or annotate):
        raise FerBenchError("--camera writes nothing: leave --out and --annotate away")
    model = _loaded(bundle, trust, detector)
    if camera is not None:
        show_camera(Predictor(model, find=True, smooth=smooth), camera)
        return
    annotations = Annotations(annotate, model.classes) if annotate else None
    with reading_progress() as progress:
        found = Predictor(model, faces, smooth, annotations).predict(paths or [], progress)
    if out:
        say(*(str(path) for path in write_predictions(out, model, found)))
    else:
        say(*in_words(model, found))
    files = len({name for name, _ in found.problems})
    say(f"faces: {len(found.faces):,}, files: {found.n_files:,}" + (f", with problems: {files:,}" if files else ""))
    if found.problems:
        say(*(f"  {name}: {why}" for name, why in found.problems))
        raise typer.Exit(1)


@app.command(epilog="Example: `python -m fer_bench serve my-model/`")
def serve(
    bundle: BundleFolder,
    host: Annotated[str, typer.Option(help="Address to answer on; 0.0.0.0 is all of this machine's.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 for a free one.")] = 8000,
    allow_origin: Annotated[
        list[str] | None, typer.Option(help="A page elsewhere whose scripts may ask.", metavar="URL")
    ] = None,
    detector: DetectorFile = None,
    trust: Trust = None,
) -> None:
    """Answer over HTTP, with a page for photos and the webcam, until Ctrl-C; no image is stored."""
    from fer_bench.deploy.serving.server import serve as answer

    model = _loaded(bundle, trust, detector)
    answer(
        model, host, port, allow_origin or (),
        lambda url: say(f"{url}: a page for photos and the webcam; {url}/docs for programs; Ctrl-C ends it"),
    )  # fmt: skip


def _loaded(folder: Path, trust: list[str] | None, detector: Path | None) -> Bundle:
    from fer_bench.deploy import Detector, load_model

    model = load_model(folder, trust or ())
    if detector:
        model.detector = Detector(detector)
    return model
