"""Tables of numbers and series in files: what is read, what is seen by itself, and one line for what cannot be."""

import numpy as np
import pytest

import kzoo


def table(tmp_path, text, name="t.csv"):
    path = tmp_path / name
    path.write_text(text)
    return path


def months(first, count):
    """Every month once, with a number."""
    whole = (first + k for k in range(count))
    return "month,sold\n" + "".join(f"{m // 12:04d}-{m % 12 + 1:02d},{m % 12}\n" for m in whole)


class TestRows:
    def test_classes_in_the_last_column(self, tmp_path):
        rows = "".join(f"{k},{k % 3}.5,{'ab'[k % 2]}\n" for k in range(40))
        data = kzoo.load_data(table(tmp_path, rows))
        assert (data.info.holds, data.info.classes, data.info.shape) == ("rows", ("a", "b"), (2,))
        assert data.info.counts == {"train": 36, "validation": 4}
        x, y = next(iter(data.train.batch(40)))
        np.testing.assert_array_equal(y, x[:, 0] % 2)

    def test_a_number_in_a_column_of_such_a_name(self, tmp_path):
        rows = "price,rooms,area\n" + "".join(f"{k * 1.5},{k % 5},{k}\n" for k in range(30))
        data = kzoo.load_data(table(tmp_path, rows))
        assert (data.info.holds, data.info.columns, data.info.measured) == (
            "measurements", ("rooms", "area"), ("price",)
        )  # fmt: skip
        x, y = next(iter(data.train.batch(30)))
        np.testing.assert_array_equal(y[:, 0], x[:, 1] * 1.5)

    def test_what_is_said_goes_before_what_is_seen(self, tmp_path):
        path = table(tmp_path, "a,b,c\n" + "".join(f"{k},{k % 2},{k * 2}\n" for k in range(30)))
        assert kzoo.load_data(path, columns={"label": "b"}).info.classes == ("0", "1")
        assert kzoo.load_data(path, columns={"target": "a"}).info.columns == ("b", "c")
        assert kzoo.load_data(path, holds="measurements", columns={"target": 2}).info.measured == ("b",)

    def test_diabetes(self):
        data = kzoo.load_data("diabetes")
        assert data.info.counts == {"train": 318, "validation": 35, "test": 89} or sum(data.info.counts.values()) == 442
        assert data.info.columns[:2] == ("age", "sex")

    @pytest.mark.parametrize(
        "text, line",
        [
            ("a,b,y\n1,2,3.5\n1,x,2.5\n", "line 3 of .* has 'x' in column 2 .'b'., where numbers stand"),
            ("a,b,y\n1,2,3.5\n1,,2.5\n", "line 3 of .* has nothing in column 2 .'b'.; fill it or delete the row"),
            ("a,b,y\n1,2,3.5\n1,nan,2.5\n", "line 3 of .* has 'nan' in column 2"),
            ("a,a,y\n1,2,3.5\n1,3,2.5\n", "line 1 of .* names 'a' twice"),
            ("a,b,label\n1,2,u\n1,3,\n", "line 3 of .* has an empty label"),
        ],
    )
    def test_bad_cells_are_named_by_their_line(self, tmp_path, text, line):
        holds = "rows" if "label" in text else "measurements"
        with pytest.raises(kzoo.KzooError, match=line):
            kzoo.load_data(table(tmp_path, text), holds=holds)

    def test_roles_that_do_not_go_together(self, tmp_path):
        path = table(tmp_path, "a,b,c\n" + "1,2,3\n" * 9)
        with pytest.raises(kzoo.KzooError, match="must say label alone; received target"):
            kzoo.load_data(path, holds="rows", columns={"target": "a"})
        with pytest.raises(kzoo.KzooError, match="holds texts, not rows"):
            kzoo.load_data(table(tmp_path, "text\tlabel\na\tx\nb\ty\n", "u.tsv"), holds="rows")


class TestSeries:
    def test_months_are_cut_in_time(self, tmp_path):
        data = kzoo.load_data(table(tmp_path, months(1949 * 12, 100)))
        assert (data.info.holds, data.info.columns) == ("series", ("sold",))
        assert data.info.counts == {"train": 70, "validation": 10, "test": 20}
        whole = np.concatenate(
            [x for part in ("train", "validation", "test") for x, _ in data[part].as_numpy_iterator()]
        )
        np.testing.assert_array_equal(whole, np.arange(100) % 12)

    def test_shares_and_targets(self, tmp_path):
        rows = "date,a,b\n" + "".join(f"2020-01-{k + 1:02d},{k},{k * 2}\n" for k in range(30))
        path = table(tmp_path, rows)
        data = kzoo.load_data(path, test=0, validation=0.5, columns={"time": "date", "target": "b"})
        assert data.info.counts == {"train": 15, "validation": 15}
        assert (data.info.columns, data.info.measured) == (("a", "b"), ("b",))
        with pytest.raises(kzoo.KzooError, match="test=0.5 leave nothing|leave nothing to train on"):
            kzoo.load_data(path, test=0.5, validation=0.5)

    @pytest.mark.parametrize(
        "times, line",
        [
            (("2020-01-01", "2020-01-02", "2020-01-04", "2020-01-05"), "line 4 of .*: a gap, from 2020-01-02 to"),
            (("2020-01-01", "2020-01-02", "2020-01-02", "2020-01-03"), "line 4 of .*: the same time twice"),
            (("2020-01-01", "2020-01-02", "2020-01-01", "2020-01-02"), "line 4 of .*: a step back"),
            (("2020-01-01", "2020-01-02", "soon", "2020-01-04"), "line 4 of .* has 'soon' where a time stands"),
            (
                ("2020-01-01T00:00", "2020-01-01T01:00Z", "2020-01-01T02:00", "2020-01-01T03:00"),
                "line 3 of .* has '2020-01-01T01:00Z' where a time stands",
            ),
            (("2020-01", "2020-02", "2020-04", "2020-05"), "line 4 of .*: a gap, from 2020-02 to 2020-04"),
        ],
    )  # fmt: skip
    def test_gaps_are_named_by_their_line(self, tmp_path, times, line):
        path = table(tmp_path, "date,a\n" + "".join(f"{t},{k}\n" for k, t in enumerate(times)))
        with pytest.raises(kzoo.KzooError, match=line):
            kzoo.load_data(path, holds="series", columns={"time": "date"})

    def test_a_date_that_is_written_otherwise_is_named(self, tmp_path):
        path = table(tmp_path, "date,a\n01/31/2020,1\n02/01/2020,2\n")
        with pytest.raises(kzoo.KzooError, match="line 2 of .* has '01/31/2020' in the column 'date', where a time"):
            kzoo.load_data(path, holds="series")

    def test_a_year_in_front_of_a_table_makes_no_series(self, tmp_path):
        rows = "year,km,price\n" + "".join(f"{2000 + k * 7 % 5},{k},{k * 1.5}\n" for k in range(30))
        assert kzoo.load_data(table(tmp_path, rows)).info.holds == "measurements"

    def test_first_days_of_months_and_years_are_steps(self, tmp_path):
        days = "date,a\n" + "".join(f"2020-{m:02d}-01,{m}\n" for m in range(1, 13))
        assert "a row each a month, to 2020-12-01" in kzoo.load_data(table(tmp_path, days)).info.notes
        each = "date,a\n" + "".join(f"2020-01-{d:02d},{d}\n" for d in range(1, 30))
        assert "a row each a day, to 2020-01-29" in kzoo.load_data(table(tmp_path, each)).info.notes
        years = "year,a\n" + "".join(f"{1990 + k},{k}\n" for k in range(12))
        assert "a row each 1, to 2001" in kzoo.load_data(table(tmp_path, years)).info.notes
