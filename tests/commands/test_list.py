"""`ostinato list`: families, the ablations behind what they ablate, nothing twice and nothing left out."""

from framework.catalogue import Entry, entries
from framework.cli import main
from framework.commands.list import lines


def entry(name: str, family: str, base: str = "") -> Entry:
    return Entry(name, f"about {name}", family, "Parent", base, [])


def test_ablations_stand_behind_what_they_ablate():
    known = [
        entry("small", "one"),
        entry("other", "two"),
        entry("large", "one", "small"),
        entry("ablations.second", "one", "ablations.first"),
        entry("ablations.first", "one", "small"),
        entry("ablations.free", "two"),
    ]
    found = [line.split("about")[0].rstrip() for line in lines(known)]
    assert found == ["one", "  small", "    first", "    second", "  large", "two", "  other", "    free"]
    assert len({line.index("about") for line in lines(known) if "about" in line}) == 1


def test_every_experiment_has_its_line(capsys):
    assert main(["list"]) == 0
    shown, _, sweeps = capsys.readouterr().out.partition("\nsweeps\n")
    assert "hifigan_table3" in sweeps
    printed = [line.split()[0] for line in shown.splitlines() if line.startswith(" ")]
    assert sorted(printed) == sorted(entry.name.removeprefix("ablations.") for entry in entries())
    assert main(["list", "without_mpd"]) == 0
    shown = capsys.readouterr().out
    assert "(HiFiGANV3)" in shown
    assert "build_discriminators() overridden" in shown
    assert main(["list", "nothing"]) == 2
