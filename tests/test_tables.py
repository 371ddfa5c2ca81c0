"""Regression and forecasting through every verb: numbers in their own units, the same in a run, an export, a server."""

import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import kzoo
from kzoo import cli
from kzoo.tasks import find_task

STYLES = ("functional", "sequential", "subclass")


def write(path, head, rows):
    path.write_text(
        "\n".join([head, *(",".join(f"{v:.6f}" if isinstance(v, float) else str(v) for v in r) for r in rows)]) + "\n"
    )
    return path


@pytest.fixture(scope="module")
def houses(tmp_path_factory):
    """A price that is 1,000 times the area and a little noise."""
    rng = np.random.default_rng(0)
    area, rooms = rng.uniform(20, 200, 200), rng.integers(1, 6, 200)
    rows = [(float(a), int(r), float(1000 * a + rng.normal(0, 500))) for a, r in zip(area, rooms, strict=True)]
    return write(tmp_path_factory.mktemp("houses") / "houses.csv", "area,rooms,price", rows)


@pytest.fixture(scope="module")
def waves(tmp_path_factory):
    """Two sines, by the hour."""
    t = np.arange(300)
    hours = [f"2020-01-{1 + k // 24:02d} {k % 24:02d}:00:00" for k in t]
    rows = [(h, float(100 + 10 * np.sin(k / 4)), float(np.cos(k / 4))) for h, k in zip(hours, t, strict=True)]
    return write(tmp_path_factory.mktemp("waves") / "waves.csv", "date,sine,cosine", rows)


@pytest.fixture(scope="module")
def priced(houses, tmp_path_factory):
    options = {"run_dir": tmp_path_factory.mktemp("runs") / "r", "verbose": False, "set": {"dropout": 0.0}}
    return kzoo.fit("mlp_regressor", kzoo.load_data(houses, test=0.2), epochs=40, learning_rate=0.01, **options)


@pytest.fixture(scope="module")
def forecast(waves, tmp_path_factory):
    options = {"run_dir": tmp_path_factory.mktemp("runs") / "f", "verbose": False, "learning_rate": 0.01}
    return kzoo.fit(
        "gru_forecaster", waves, epochs=15, set={"horizon": 3, "units": 16, "input_shape": (12, 2)}, **options
    )


class TestRegression:
    def test_numbers_are_learned_in_their_own_unit(self, priced, houses):
        found = kzoo.evaluate(priced)
        assert found.mae < 0.2 * found.baseline_mae and found.r2 > 0.9 and found.measured == "price"
        assert (priced.path / "predictions.png").is_file() and "estimates" in found.files
        (one,) = kzoo.predict(priced, np.array([[100.0, 3.0]]))
        assert one.value == pytest.approx(100_000, rel=0.1)

    def test_a_table_in_a_file_and_its_csv(self, priced, houses, tmp_path, monkeypatch):
        rows = kzoo.predict(priced, houses)
        assert len(rows) == 200 and rows[0].input == "houses.csv:2"
        x = np.loadtxt(houses, delimiter=",", skiprows=1)[:, :2]
        np.testing.assert_allclose([r.value for r in rows], [r.value for r in kzoo.predict(priced, x)], rtol=1e-5)
        given = ["kzoo", "predict", str(priced.path), str(houses), "--csv", str(tmp_path / "out.csv")]
        monkeypatch.setattr(sys, "argv", given)
        with pytest.raises(SystemExit) as left:
            cli.main()
        assert not left.value.code
        lines = (tmp_path / "out.csv").read_text().splitlines()
        assert lines[0] == "row,price" and len(lines) == 201

    def test_the_export_says_the_same(self, priced, tmp_path):
        path = kzoo.export(priced, tmp_path / "e").path
        x = np.array([[100.0, 3.0], [50.0, 1.0], [np.nan, 1.0]], "float32")
        served = tf.saved_model.load(str(path)).signatures["serve_rows"](rows=tf.constant(x))
        expected = [p.value for p in kzoo.predict(priced, x[:2])]
        np.testing.assert_allclose(served["value"][:2], expected, rtol=1e-5)
        assert served["valid"].numpy().tolist() == [True, True, False] and float(served["value"][2]) == 0
        np.testing.assert_allclose([p.value for p in kzoo.predict(tmp_path / "e", x[:2])], expected, rtol=1e-5)

    def test_read_again_it_says_the_same(self, priced):
        x = np.array([[100.0, 3.0]])
        again = kzoo.load_model(priced.path)
        assert kzoo.predict(again, x)[0].value == pytest.approx(kzoo.predict(priced, x)[0].value, rel=1e-6)

    @pytest.mark.parametrize(
        "call, line",
        [
            (lambda run: kzoo.predict(run, np.zeros((2, 5))), r"takes an array of examples \[n, 2\]"),
            (lambda run: kzoo.predict(run, np.array([[1.0, np.inf]])), "row 0 of .* has inf in place 1"),
            (lambda run: kzoo.evaluate(run, "digits"), "reads rows of numbers, but digits gives uint8"),
            (lambda run: kzoo.fit("mlp_regressor", "xor"), "learns a number a row, and xor has classes"),
            (lambda run: kzoo.fit("mlp_table", "diabetes"), "learns classes, and diabetes has a number a row"),
            (lambda run: kzoo.evaluate(kzoo.mlp_regressor(), (np.zeros((2, 8)), np.zeros(2))), "was not trained"),
        ],
    )
    def test_what_does_not_fit_is_one_line(self, priced, call, line):
        with pytest.raises(kzoo.KzooError, match=line):
            call(priced)

    def test_a_file_of_other_columns(self, priced, tmp_path):
        path = write(tmp_path / "o.csv", "area,windows", [(1.0, 2), (2.0, 3)])
        with pytest.raises(kzoo.KzooError, match="has no column 'rooms'; it has area, windows"):
            kzoo.predict(priced, path)


class TestForecasting:
    def test_it_is_better_than_naive(self, forecast):
        found = kzoo.evaluate(forecast)
        assert found.mse < 0.3 * found.naive_mse and set(found.errors) == {"sine", "cosine"}
        mae, naive = found.errors["sine"]
        assert mae < naive and (forecast.path / "predictions.png").is_file()

    def test_what_comes_after_the_file(self, forecast, waves):
        (found,) = kzoo.predict(forecast, str(waves))
        assert found.times == ("2020-01-13 12:00:00", "2020-01-13 13:00:00", "2020-01-13 14:00:00")
        assert found.columns == ("sine", "cosine") and found.values.shape == (3, 2)
        true = 100 + 10 * np.sin(np.arange(300, 303) / 4)
        np.testing.assert_allclose(found.values[:, 0], true, atol=4)

    def test_naive_figures_by_hand(self, forecast, waves):
        """MSE and MAE of repeating the last moment, counted from the file."""
        rows = np.loadtxt(waves, delimiter=",", skiprows=1, usecols=(1, 2))
        train, test = rows[:210], rows[240:]
        scaled = (test - train.mean(axis=0)) / train.std(axis=0)
        windows = range(len(test) - 3 + 1)  # what is read before the first one came before the test
        last = (rows[239:-1] - train.mean(axis=0)) / train.std(axis=0)
        off = np.stack([scaled[k : k + 3] - last[k] for k in windows])
        found = kzoo.evaluate(forecast)
        assert found.examples == len(windows)
        assert found.naive_mse == pytest.approx((off**2).mean(), rel=1e-4)
        assert found.naive_mae == pytest.approx(np.abs(off).mean(), rel=1e-4)

    def test_the_export_says_the_same(self, forecast, waves, tmp_path):
        path = kzoo.export(forecast, tmp_path / "e").path
        rows = np.loadtxt(waves, delimiter=",", skiprows=1, usecols=(1, 2)).astype("float32")
        served = tf.saved_model.load(str(path)).signatures["serve_series"](series=tf.constant(rows[None, -12:]))
        np.testing.assert_allclose(served["forecast"][0], kzoo.predict(forecast, rows)[0].values, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(
            kzoo.predict(tmp_path / "e", str(waves))[0].values, kzoo.predict(forecast, str(waves))[0].values, rtol=1e-4,
            atol=1e-4,
        )  # fmt: skip

    @pytest.mark.parametrize(
        "name, style",
        [
            ("lstm_forecaster_tiny", "functional"),
            *(pytest.param("lstm_forecaster_tiny", style, marks=pytest.mark.slow) for style in STYLES[1:]),
            *(pytest.param("gru_forecaster_tiny", style, marks=pytest.mark.slow) for style in STYLES),
        ],
    )
    def test_one_column_of_several_in_every_style(self, name, style, waves, tmp_path):
        data = kzoo.load_data(waves, columns={"time": "date", "target": "cosine"})
        run = kzoo.fit(name, data, style=style, epochs=1, run_dir=tmp_path / "r", verbose=False)
        (found,) = kzoo.predict(run, str(waves))
        assert found.columns == ("cosine",)
        (again,) = kzoo.predict(run.path, str(waves))
        np.testing.assert_allclose(again.values, found.values, rtol=1e-6)

    def test_windows_of_ones_own_are_fed_as_they_are(self, tmp_path):
        x = np.random.default_rng(0).normal(size=(30, 24, 1)).astype("float32")
        run = kzoo.fit("lstm_forecaster", (x, x[:, -1:]), epochs=1, run_dir=tmp_path / "r", verbose=False)
        found = kzoo.evaluate(run, (x, x[:, -1:]))
        assert found.examples == 30 and found.naive_mse == 0 and list(found.errors) == ["0"]
        with pytest.raises(kzoo.KzooError, match="not trained on a series that kzoo read"):
            kzoo.predict(run, x)

    def test_a_level_that_training_did_not_have_changes_nothing(self):
        """What is forecast is the difference from the last moment."""
        keras.utils.set_random_seed(0)
        model = kzoo.lstm_forecaster(units=8)
        x = np.random.default_rng(0).normal(size=(4, 24, 1)).astype("float32")
        np.testing.assert_allclose(model(x + 100) - 100, model(x), atol=1e-4)

    @pytest.mark.parametrize(
        "call, line",
        [
            (lambda run, f: kzoo.predict(run, np.zeros((5, 2))), "has 5 moments; .* reads 12"),
            (lambda run, f: kzoo.predict(run, np.zeros((20, 3))), r"takes a .csv, or numbers \[time, 2\]"),
            (lambda run, f: kzoo.predict(run, np.full((20, 2), np.nan)), "has nan or infinity among its last 12"),
            (lambda run, f: kzoo.fit("gru_forecaster", f, set={"input_shape": (400, 2)}), "waves has .* a window"),
            (lambda run, f: kzoo.fit(kzoo.gru_forecaster(), f), r"reads 1 numbers a moment, but waves has 2"),
            (lambda run, f: kzoo.fit(kzoo.gru_forecaster(input_shape=(24, 2)), f), "build it with targets"),
            (lambda run, f: kzoo.fit("gru_forecaster", "diabetes"), "reads a series, but diabetes holds measurements"),
        ],
    )  # fmt: skip
    def test_what_does_not_fit_is_one_line(self, forecast, waves, call, line):
        with pytest.raises(kzoo.KzooError, match=line):
            call(forecast, waves)


def test_bench_times_them():
    for name in ("lstm_forecaster_tiny", "mlp_regressor"):
        spec = kzoo.zoo.model_spec(name)
        assert find_task(spec.task).made_up(spec, 50, 0).info.holds == find_task(spec.task).holds
