"""Both twins over every real file and every catalogue: some 60 million values, equal to the bit."""

from __future__ import annotations

from pathlib import Path

import pytest

from alpha.data import open_events
from alpha.features import catalog, needs, parity

FILES = (
    *(
        f"bars/{n}.parquet"
        for n in ("6EH4_1m", "BTC-PERP_1m", "QQQ_1m_2022_2023", "SPY_1m_2022_2023", "TQQQ_1m_2025Q2")
    ),
    "binance/spot_btcusdt_20240808.gz",
    *(f"binance/spot_btcusdt_2024080{d}_{k}.parquet" for d in (8, 9) for k in ("depth", "l1")),
    *(f"binance/usdm_btcusdt_20240808_{k}.parquet" for k in ("depth", "l1")),
    "fx/FXCM_EURUSD_20140506.parquet",
    *(f"fx/OANDA_EURUSD_2014050{d}.parquet" for d in (1, 2, 5, 6, 7, 8, 9)),
    "lobster/AMZN_20120621_L5.parquet",
    "lobster/LOBSTER_SampleFile_AMZN_2012-06-21_5.zip",
)


@pytest.mark.real_data
@pytest.mark.parametrize("file", FILES)
def test_every_real_file(data_dir: Path, file: str) -> None:
    if not (data_dir / file).exists():
        pytest.skip(f"{file} is not in the data folder")
    deep = "LOBSTER" in file or "L5" in file or file.endswith(".gz")
    source = open_events(data_dir / file, bar_stamp="start", levels=5 if deep else 1)
    events = source.read_all()
    bars = ["bars", "hybrid_ppo", "talib", "alpha158"]
    sets = bars if file.startswith("bars/") else ["spec", "demo", "twenty", "clocked"]
    if "l1" in file or deep:
        sets += ["trade_bars", "micro"]
    if deep:
        sets.append("book")
    for name in sets:
        result = parity.check(catalog.get(name), events, source.instruments)
        # a file without trades cannot show what needs them; whatever else is not compared would be a fault
        assert result["verdict"] != "FAIL", (name, result["worst"], result["features"])
        lacking = needs.lacking(catalog.get(name), needs.counted(catalog.get(name), events))
        assert set(result["not_compared"]) <= set(lacking), (name, result["not_compared"])
        assert result["values"] > 2_000 and result["ready_mismatch"] == 0


@pytest.mark.real_data
def test_the_list_is_complete(data_dir: Path) -> None:
    here = {str(p.relative_to(data_dir)) for s in ("parquet", "gz", "zip") for p in data_dir.glob(f"*/*.{s}")}
    assert here <= set(FILES), here - set(FILES)
