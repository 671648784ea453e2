"""Champions change through gates, one at a time, and leave a history."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from dataclasses import asdict

import numpy as np
import pytest

import tuner
from tests.registry.conftest import SIZE, write_toy
from tuner.data.survey import Depth
from tuner.promotion.promote import PromotionRefused, history, retire
from tuner.promotion.rematch import Batch, scores_of
from tuner.registry import Export, PackageError, RegistryError, load_package
from tuner.registry.export import EXPORT_FILE, ONNX_FILE
from tuner.registry.history import HISTORY_TAG, Event
from tuner.registry.package import PACKAGE_FILE, WEIGHTS_FILE
from tuner.registry.versions import by_alias, fetch
from tuner.tracking.store import make_client

RACER = """
import sys
import tests.registry.toys
import tuner
from tuner.promotion import promote
from tuner.promotion.promote import PromotionRefused
home, number = sys.argv[1:]
judged = promote._judge
def judge_and_wait(*arguments):
    found = judged(*arguments)
    print("judged", flush=True)
    sys.stdin.readline()
    return found
promote._judge = judge_and_wait
try:
    print(tuner.promote("part", int(number), home=home, force=True, reason="a race").event.after)
except PromotionRefused as error:
    print("refused", error)
"""


def promoted(shop, version=None, **terms):
    return tuner.promote("part", version, home=shop.home.path, **terms)


def champion(shop) -> int:
    found = by_alias(make_client(shop.uri), "part", "champion")
    return found.number if found else 0


def gate(gates, name):
    return next(gate for gate in gates if gate.name == name)


def tags_of(shop, number: int) -> dict[str, str]:
    return make_client(shop.uri).get_model_version("part", str(number)).tags


def test_a_better_challenger_takes_over_and_the_way_back(shop):
    assert promoted(shop, 1).event.before == 0
    done = promoted(shop)
    assert (done.event.kind, done.event.before, done.event.after) == ("promoted", 1, 2)
    assert champion(shop) == 2 and all(gate.passed for gate in done.gates)
    found = gate(done.gates, "criterion")
    assert found.figure > 0.05 and "seed noise" in found.reason
    written = json.loads(tags_of(shop, 2)["tuner.gate.criterion"])
    assert written == {"passed": True, "figure": found.figure, "reason": found.reason}
    assert by_alias(make_client(shop.uri), "part", "challenger") is None

    back = tuner.promote("part", rollback=True, reason="line 3", home=shop.home.path)
    assert (back.event.kind, champion(shop)) == ("rolled back", 1)
    with pytest.raises(PromotionRefused, match="no earlier champion"):
        tuner.promote("part", rollback=True, home=shop.home.path)
    events = history("part", shop.uri)
    assert [(event.kind, event.after) for event in events] == [
        ("promoted", 1), ("promoted", 2), ("rolled back", 1),
    ]  # fmt: skip
    assert [event.study for event in events] == ["poor", "good", "poor"]
    assert events[2].reason == "line 3" and "@" in events[2].by and events[2].at.endswith("Z")


def test_a_worse_challenger_is_refused_with_reasons_and_forced_with_one(shop):
    promoted(shop, 2)
    with pytest.raises(PromotionRefused, match="criterion") as refusal:
        promoted(shop, 1)
    assert not gate(refusal.value.gates, "criterion").passed and champion(shop) == 2
    tags = tags_of(shop, 1)
    assert tags["tuner.promotion.outcome"] == "refused"
    assert json.loads(tags["tuner.gate.criterion"])["passed"] is False
    with pytest.raises(ValueError, match="needs a reason"):
        promoted(shop, 1, force=True)
    done = promoted(shop, 1, force=True, reason="the line asked for it")
    assert done.event.kind == "forced" and champion(shop) == 1
    assert tags_of(shop, 1)["tuner.promotion.reason"] == "the line asked for it"
    assert history("part", shop.uri)[-1].reason == "the line asked for it"


def test_the_same_detector_is_not_better_than_itself(shop):
    promoted(shop, 2)
    again = shop.register("again", 1.0)
    with pytest.raises(PromotionRefused) as refusal:
        promoted(shop, again)
    found = gate(refusal.value.gates, "criterion")
    assert found.figure == 0 and not found.passed
    with pytest.raises(PromotionRefused, match="champion of part already"):
        promoted(shop, 2)


def test_other_images_need_to_be_accepted_and_changed_ones_cannot_be_judged(shop):
    promoted(shop, 1)
    other = shop.register("other", 1.0, fingerprint="f" * 32)
    with pytest.raises(PromotionRefused) as refusal:
        promoted(shop, other)
    assert "--accept-data" in gate(refusal.value.gates, "data").reason
    assert "have changed" in gate(refusal.value.gates, "criterion").reason
    with pytest.raises(PromotionRefused) as refusal:
        promoted(shop, other, accept_data=True)
    assert gate(refusal.value.gates, "data").passed
    assert not gate(refusal.value.gates, "false_positives").passed


def test_a_threshold_that_flags_normal_parts_is_refused(shop):
    strict = shop.register("strict", 1.0, threshold=0.0)
    with pytest.raises(PromotionRefused) as refusal:
        promoted(shop, strict)
    assert gate(refusal.value.gates, "false_positives").figure == 1.0


def test_what_the_reliability_card_says(shop):
    assert "no reliability card" in gate(promoted(shop, 1).gates, "reliability").reason
    with pytest.raises(PromotionRefused, match="no reliability card"):
        promoted(shop, 2, require_card=True)
    card = {"verdict": "no better than random", "reason": "criteria disagree"}
    shop.summarise("good", reliability=card)
    with pytest.raises(PromotionRefused, match="no better than random"):
        promoted(shop, 2)
    wide = {
        "verdict": "doubtful",
        "figures": {"seed_spread": {"referenced_synthetic_validation": 2.0}},
    }
    shop.summarise("good", reliability=wide)
    with pytest.raises(PromotionRefused, match="spread over training seeds"):
        promoted(shop, 2)
    shop.summarise("good", reliability={"verdict": "trust", "reasons": ["a", "b"]})
    found = gate(promoted(shop, 2, require_card=True).gates, "reliability")
    assert found.figure == "trust" and found.reason.endswith("(a; b)")


def test_audited_figures_can_be_required(shop):
    with pytest.raises(PromotionRefused, match="tuner audit good"):
        promoted(shop, 2, require=["image_auroc>=0.9"])
    audit = {"winner": {"image_auroc": 0.93, "aupro": None}, "trials": {"winner": 0}}
    shop.home.study("good").audit.write_text(json.dumps(audit))
    for text, reason in (("image_auroc>=0.95", "0.93"), ("aupro>0.1", "has no figure aupro")):
        with pytest.raises(PromotionRefused, match=reason):
            promoted(shop, 2, require=[text])
    with pytest.raises(ValueError, match="must be a figure"):
        promoted(shop, 2, require=["image_auroc"])
    audit["trials"]["winner"] = 5
    shop.home.study("good").audit.write_text(json.dumps(audit))
    with pytest.raises(PromotionRefused, match="of trial 5"):
        promoted(shop, 2, require=["image_auroc>=0.9"])
    audit["trials"]["winner"] = 0
    shop.home.study("good").audit.write_text(json.dumps(audit))
    assert promoted(shop, 2, require=["image_auroc>=0.9"]).event.after == 2


@pytest.mark.heavy
def test_two_promotions_at_once_cannot_both_win(shop):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, str(shop.home.path), number],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=environment,
        )
        for number in ("1", "2")
    ]  # fmt: skip
    assert [racer.stdout.readline() for racer in racers] == ["judged\n"] * 2
    said = []
    for racer in racers:
        racer.stdin.write("go\n")
        racer.stdin.flush()
    for racer in racers:
        out, errors = racer.communicate(timeout=120)
        assert racer.returncode == 0, errors
        said.append(out.strip())
    winners = [text for text in said if text in ("1", "2")]
    assert len(winners) == 1 and champion(shop) == int(winners[0])
    assert any("another promotion came first" in text for text in said)
    assert len(history("part", shop.uri)) == 1


def test_retired_versions_stay_out(shop):
    promoted(shop, 1)
    promoted(shop, 2)
    with pytest.raises(ValueError, match="needs a reason"):
        retire("part", 1, shop.uri, shop.home, reason=" ")
    retire("part", 1, shop.uri, shop.home, reason="scratched lens")
    with pytest.raises(PromotionRefused, match="scratched lens"):
        tuner.promote("part", rollback=True, home=shop.home.path)
    with pytest.raises(PromotionRefused, match="scratched lens"):
        promoted(shop, 1)
    with pytest.raises(PromotionRefused, match="is the champion"):
        retire("part", 2, shop.uri, shop.home, reason="x")
    retire("part", 2, shop.uri, shop.home, reason="x", force=True)
    assert champion(shop) == 0 and history("part", shop.uri)[-1].kind == "retired"
    assert promoted(shop, 1, force=True, reason="polished").event.kind == "forced"


def test_nothing_is_half_promoted(shop, monkeypatch):
    promoted(shop, 1)
    client = make_client(shop.uri)
    fetched = fetch(client, shop.uri, by_alias(client, "part", "challenger"), shop.home.models)
    kept = shop.home.path / "kept"
    shutil.copytree(fetched, kept, dirs_exist_ok=True)
    try:
        (fetched / WEIGHTS_FILE).write_bytes(b"spoilt")
        with pytest.raises(PackageError, match="damaged"):
            promoted(shop, force=True, reason="no force helps")
        content = json.loads((kept / PACKAGE_FILE).read_text())
        old = {**content, "format": 0, "versions": {"tuner": "0.0.1"}}
        (fetched / PACKAGE_FILE).write_text(json.dumps(old))
        with pytest.raises(PackageError, match=r"format 0 \(made by tuner 0\.0\.1\)"):
            promoted(shop)
        shutil.rmtree(fetched)
        with pytest.raises(RegistryError, match="lost its files"):
            promoted(shop)
    finally:
        shutil.copytree(kept, fetched, dirs_exist_ok=True)
    with monkeypatch.context() as patch:
        patch.setattr(
            "mlflow.MlflowClient.set_registered_model_alias",
            lambda *_: (_ for _ in ()).throw(KeyboardInterrupt),
        )
        with pytest.raises(KeyboardInterrupt):
            promoted(shop)
    assert champion(shop) == 1
    assert [event.after for event in history("part", shop.uri)] == [1], "what did not happen"
    tags = make_client(shop.uri).get_registered_model("part").tags
    assert sum(key.startswith(HISTORY_TAG) for key in tags) == 2
    assert promoted(shop).event.before == 1
    assert [event.after for event in history("part", shop.uri)] == [1, 2]


def test_a_damaged_graph_shuts_its_own_gate_only(shop):
    client = make_client(shop.uri)
    folder = fetch(client, shop.uri, by_alias(client, "part", "challenger"), shop.home.models)
    (folder / ONNX_FILE).write_bytes(b"no graph")
    (folder / EXPORT_FILE).write_text(json.dumps(asdict(Export(True, True, "said so"))))
    try:
        with pytest.raises(PromotionRefused, match="no ONNX graph") as refusal:
            promoted(shop)
        assert [each.name for each in refusal.value.gates if not each.passed] == ["export"]
        assert champion(shop) == 0
    finally:
        (folder / ONNX_FILE).unlink()
        (folder / EXPORT_FILE).unlink()


def test_a_registry_that_is_away_or_was_never_there(shop, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{probe.getsockname()[1]}"
    with pytest.raises(RegistryError, match="is away"):
        promoted(shop, tracking_uri=uri)
    database = "postgresql://hush-user:hush-word@127.0.0.1:9/d"
    with pytest.raises(RegistryError, match=r"127\.0\.0\.1:9/d is away.*refused") as said:
        promoted(shop, tracking_uri=database)
    assert "hush" not in str(said.value)
    with pytest.raises(RegistryError, match="there is no registry"):
        tuner.promote("part", home=tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()
    with pytest.raises(LookupError, match="there are: part"):
        tuner.promote("no-such-part", home=shop.home.path)
    with pytest.raises(LookupError, match="there are: 1, 2"):
        promoted(shop, 99)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ([], 0),
        ([("promoted", 1)], 0),
        ([("promoted", 1), ("promoted", 2)], 1),
        ([("promoted", 1), ("promoted", 2), ("promoted", 3), ("rolled back", 2)], 1),
        ([("promoted", 1), ("promoted", 2), ("promoted", 1)], 2),
        ([("promoted", 1), ("promoted", 2), ("retired", 0)], 1),
    ],
)
def test_whom_a_rollback_returns_to(line, expected):
    from tuner.registry.history import previous

    before, events = 0, []
    for kind, after in line:
        events.append(Event(kind, after, before))
        before = after
    assert previous(events) == expected


def test_rivals_see_sixteen_bit_images_each_on_its_own_scale(tmp_path):
    write_toy(tmp_path / "same", ceiling=52400, floor=51200)
    write_toy(tmp_path / "full")
    seen = np.random.default_rng(0).integers(0, 256, (5, 3, *SIZE), dtype=np.uint8)
    batch = Batch(seen, seen, None, Depth(52400, 51200))
    samples = np.rint(51200 + seen.transpose(0, 2, 3, 1) * (1200 / 255)).astype(np.uint16)
    for name in ("same", "full"):
        rival = load_package(tmp_path / name)
        (found,) = scores_of(rival, batch)
        assert np.array_equal(found, rival.predict(samples)["score"])
