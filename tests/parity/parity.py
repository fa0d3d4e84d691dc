"""Compares, value by value, what TensorBoard serves of a log of torch.utils.tensorboard and of this crate's log of the same
values, with either of its loaders.

    python parity.py PROGRAM OUT       PROGRAM: the example `parity` of the package tch-tensorboard-interop

Needs torch, tensorboard and Pillow. What one of both cannot write is compared with the values themselves; docs/parity.md
says what that is. The logs stay in OUT.
"""

import contextlib
import io
import json
import re
import shutil
import struct
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import wave
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "end_to_end"))
from board import running_board  # noqa: E402

TORCH, OURS = "torch", "ours"


def numbers(seed, count):
    """The same numbers as in parity.rs."""
    import numpy as np

    places = np.arange(count, dtype=np.int64)
    return ((places * 7919 + seed * 104_729) % 1000).astype(np.float32) / np.float32(1000)


def write_with_torch(logdir):
    import numpy as np
    import torch
    from torch.utils.tensorboard import SummaryWriter

    def tensor(seed, *shape):
        return torch.from_numpy(numbers(seed, int(np.prod(shape)))).reshape(shape)

    with SummaryWriter(logdir / "run") as writer:
        writer.add_custom_scalars(
            {
                "Own": {
                    "Lines": ["Multiline", ["scalar", "scalars/one"]],
                    "Band": ["Margin", ["scalar", "scalars/one", "scalars/two"]],
                }
            }
        )
        for step in range(20):
            writer.add_scalar("scalar", numbers(1, 20)[step], step)
            both = {"one": numbers(2, 20)[step], "two": numbers(3, 20)[step]}
            writer.add_scalars("scalars", both, step)
        writer.add_image("image", tensor(5, 3, 8, 12), 0)
        writer.add_images("images", tensor(7, 10, 1, 4, 5), 0)
        figure = np.arange(10 * 6 * 3) % 251
        writer.add_image("figure", figure.astype(np.uint8).reshape(6, 10, 3), 0, dataformats="HWC")
        writer.add_text("text", "| a | b |\n| --- | --- |\n| **1** | 2 |", 0)
        writer.add_graph(torch.nn.Linear(3, 2), torch.zeros(1, 3))
        writer.add_histogram("histogram", tensor(9, 500), 0)
        writer.add_audio("audio", (2.4 * tensor(4, 1, 4000) - 1.2), 0, sample_rate=8000)
        labels = torch.arange(1000) % 3 == 0
        writer.add_pr_curve("curve", labels, tensor(8, 1000), 0, num_thresholds=100)
        counts = [[75, 64, 21, 5, 0], [150, 105, 18, 0, 0], [0, 45, 132, 150, 150], [0, 11, 54, 70, 75]]
        tp, fp, tn, fn = (np.array(row, dtype=np.float64) for row in counts)
        shares = tp / np.maximum(1e-7, tp + fp), tp / np.maximum(1e-7, tp + fn)
        writer.add_pr_curve_raw("raw_curve", tp, fp, tn, fn, *shares, 0, num_thresholds=5)
        writer.add_mesh(
            "mesh",
            tensor(6, 1, 10, 3),
            colors=(torch.arange(30) * 8 % 256).reshape(1, 10, 3),
            faces=(torch.arange(24) % 10).reshape(1, 8, 3),
            config_dict={"camera": {"cls": "PerspectiveCamera", "fov": 75}},
            global_step=0,
        )
        writer.add_embedding(
            tensor(10, 5, 4),
            metadata=[[f"name {n}", str(n % 2)] for n in range(5)],
            metadata_header=["name", "class"],
            label_img=tensor(11, 5, 3, 2, 2),
            global_step=3,
            tag="embedding",
        )
    with SummaryWriter(logdir) as writer:
        params = {"rate": 0.125, "layers": 3, "optimizer": "adam", "augment": True}
        metrics = {"hparam/accuracy": 0.875, "hparam/loss": 0.25}
        writer.add_hparams(params, metrics, run_name="trial", global_step=7)


def graph_of(logdir):
    """The serialized graph in a log."""
    from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
    from tensorboard.compat.proto.event_pb2 import Event

    for file in sorted((logdir / "run").glob("*tfevents*")):
        for record in RawEventFileLoader(str(file)).Load():
            event = Event.FromString(record)
            if event.graph_def:
                return event.graph_def
    raise SystemExit("parity: torch has written no graph")


class Routes:
    """What TensorBoard serves of one log."""

    def __init__(self, board):
        self.board = board

    def bytes(self, route, **parameters):
        query = "?" + urllib.parse.urlencode(parameters) if parameters else ""
        with self.board.opener.open(f"{self.board.address}/data/{route}{query}", timeout=60) as answer:
            return answer.read()

    def json(self, route, **parameters):
        return json.loads(self.bytes(route, **parameters))

    def post(self, route, body):
        request = urllib.request.Request(f"{self.board.address}/data/{route}", json.dumps(body).encode())
        request.add_header("Content-Type", "application/json")
        with self.board.opener.open(request, timeout=60) as answer:
            return json.load(answer)

    def wait(self):
        """Until all of the log is loaded: the last values of either run."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with contextlib.suppress(urllib.error.HTTPError, KeyError):
                # Torch writes two of the scalars, and the metrics, to runs of their own.
                scalars = self.json("plugin/scalars/tags")
                tags = {tag for run in scalars.values() for tag in run}
                curves = self.json("plugin/pr_curves/tags")
                meshes = self.json("plugin/mesh/tags")
                if "hparam/loss" in tags and "raw_curve" in curves["run"] and meshes["run"]:
                    return
            time.sleep(0.3)
        raise SystemExit("parity: TensorBoard did not load the log within 60 seconds")

    def blobs(self, plugin, item, tag):
        """The files of a tag of images or sounds."""
        entries = self.json(f"plugin/{plugin}/{plugin}", run="run", tag=tag, sample=0)
        return [self.bytes(f"plugin/{plugin}/{item}?{entry['query']}") for entry in entries]


def pixels(file):
    """All frames of a picture, as RGB."""
    from PIL import Image, ImageSequence

    with Image.open(io.BytesIO(file)) as image:
        return [(frame.size, frame.convert("RGB").tobytes()) for frame in ImageSequence.Iterator(image)]


def samples(file):
    with wave.open(io.BytesIO(file)) as clip:
        return clip.getparams()[:4], clip.readframes(clip.getnframes())


def scalars(routes, writer):
    def points(run, tag):
        return [(step, value) for _, step, value in routes.json("plugin/scalars/scalars", run=run, tag=tag)]

    found = {"scalar": points("run", "scalar")}
    for name in ("one", "two"):
        place = ("run", f"scalars/{name}") if writer == OURS else (f"run/scalars_{name}", "scalars")
        found[name] = points(*place)
    return found


def layout(routes, writer):
    """The layout; torch's names of tags are patterns that also match longer tags, ours match whole ones."""
    del writer
    charts = []
    for category in routes.json("plugin/custom_scalars/layout")["category"]:
        for chart in category["chart"]:
            lines = chart.get("multiline", {}).get("tag", [])
            lines = [re.sub(r"\\(.)", r"\1", line.removesuffix("$")) for line in lines]
            charts.append((category["title"], chart["title"], lines, chart.get("margin")))
    # The category of log_scalars_chart comes beside it.
    return [chart for chart in charts if chart[0] == "Own"]


def images(routes, writer):
    del writer
    return {tag: [pixels(file) for file in routes.blobs("images", "individualImage", tag)] for tag in ("image", "images", "figure")}


def audio(routes, writer):
    del writer
    return [samples(file) for file in routes.blobs("audio", "individualAudio", "audio")]


def text(routes, writer):
    """Torch appends to the tag, and writes a table of one cell."""
    tag = "text" if writer == OURS else "text/text_summary"
    found = []
    for point in routes.json("plugin/text/text", run="run", tag=tag):
        html = re.sub(r"\s+", "", point["text"])
        html = re.sub(r"^<table><tbody><tr><td>(.*)</td></tr></tbody></table>$", r"\1", html)
        found.append((point["step"], html))
    return found


def graph(routes, writer):
    del writer
    return routes.bytes("plugin/graphs/graph", run="run")


def curves(routes, writer):
    """Counts as they are; shares are f32 in torch's log."""
    del writer
    found = {}
    for tag in ("curve", "raw_curve"):
        (curve,) = routes.json("plugin/pr_curves/pr_curves", run="run", tag=tag)["run"]
        del curve["wall_time"]
        for share in ("precision", "recall"):
            curve[share] = [struct.unpack("f", struct.pack("f", value))[0] for value in curve[share]]
        found[tag] = curve
    return found


def mesh(routes, writer):
    del writer
    found = []
    names = {1: "VERTEX", 2: "FACE", 3: "COLOR"}
    for part in routes.json("plugin/mesh/meshes", run="run", tag="mesh", sample=0):
        of = names[part["content_type"]]
        values = routes.bytes("plugin/mesh/data", run="run", tag="mesh", sample=0, step=0, content_type=of)
        found.append((part["content_type"], part["components"], json.loads(part["config"]), part["data_shape"], values))
    return sorted(found, key=lambda part: part[0])


def projector(routes, writer):
    del writer
    info = routes.json("plugin/projector/info", run="run")
    (embedding,) = info["embeddings"]
    name = embedding["tensorName"]
    return {
        "name": name,
        "shape": embedding["tensorShape"],
        "tensor": routes.bytes("plugin/projector/tensor", run="run", name=name, num_rows=100),
        "labels": routes.bytes("plugin/projector/metadata", run="run", name=name, num_rows=100),
        "sprite": pixels(routes.bytes("plugin/projector/sprite_image", run="run", name=name)),
        "picture": embedding["sprite"]["singleImageDim"],
    }


def hparams(routes, writer):
    """The table. Torch stores truths as numbers, which are true and false here as there."""
    del writer
    statuses = ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING"]
    groups = routes.post("plugin/hparams/session_groups", {"allowedStatuses": statuses, "sliceSize": 100})
    (group,) = groups["sessionGroups"]
    values = {
        (value["name"]["group"], value["name"]["tag"]): (value["trainingStep"], value["value"])
        for value in group["metricValues"]
    }
    params = {name: float(value) if isinstance(value, bool) else value for name, value in group["hparams"].items()}
    return {
        "hparams": params,
        "status": group["sessions"][0]["status"],
        "metrics": {tag: value for (group, tag), value in values.items() if tag.startswith("hparam/") and not group},
    }


COMPARED = [scalars, layout, images, audio, text, graph, curves, mesh, projector, hparams]


def own_values(routes):
    """What torch does not write without further packages, or writes wrongly, against the values themselves."""
    (file,) = routes.blobs("images", "individualImage", "video")
    frames = [frame for _, frame in pixels(file)]
    levels = (numbers(7, 10 * 20).reshape(10, 20) * 255).astype("uint8")
    yield "video", frames, [bytes(level for level in frame for _ in range(3)) for frame in levels.tolist()]
    (curve,) = routes.json("plugin/pr_curves/pr_curves", run="run", tag="large_curve")["run"]
    yield "large_curve", curve["true_positives"], [(1 << 24) + 1, 1 << 24, 3, 1]
    (histogram,) = routes.json("plugin/histograms/histograms", run="run", tag="histogram")
    rows = histogram[2]
    values = numbers(9, 500).astype(float)
    yield "histogram: all counts", sum(count for *_, count in rows), 500
    yield "histogram: its edges", (rows[0][0], rows[-1][1]), (values.min(), values.max())


def read(logdir, writer, load_fast):
    with running_board(logdir, load_fast) as board:
        routes = Routes(board)
        routes.wait()
        found = {compare.__name__: compare(routes, writer) for compare in COMPARED}
        own = list(own_values(routes)) if writer == OURS else []
    return found, own


def main():
    program, out = sys.argv[1], Path(sys.argv[2])
    try:
        import torch.utils.tensorboard  # noqa: F401
    except ImportError as error:
        print(f"parity: left out, since this Python has no torch.utils.tensorboard ({error})")
        return 0
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    logs = {TORCH: out / TORCH, OURS: out / OURS}
    write_with_torch(logs[TORCH])
    graph_file = out / "graph.pb"
    graph_file.write_bytes(graph_of(logs[TORCH]))
    subprocess.run([program, logs[OURS], graph_file], check=True)
    failures = 0
    for load_fast in (True, False):
        loader = "fast" if load_fast else "Python"
        theirs, _ = read(logs[TORCH], TORCH, load_fast)
        ours, own = read(logs[OURS], OURS, load_fast)
        compared = [(kind, ours[kind], theirs[kind]) for kind in theirs] + own
        for kind, found, wanted in compared:
            if found == wanted and found:
                print(f"  {kind}: equal, {loader} loader")
            else:
                failures += 1
                print(f"  {kind}: DIFFERENT, {loader} loader\n    ours:   {found!r:.2000}\n    wanted: {wanted!r:.2000}")
    print(f"parity: {failures} differences" if failures else "parity: every value is equal in both loaders")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
