"""Search answers: encoded, read as CSV, proved complete, else page by page."""

import pytest

from cryoclarity.archive.responses import Politeness, Responses
from cryoclarity.archive.search import (
    FIELDS,
    facts_of_row,
    in_order,
    parse_rows,
    released_count,
    search,
    search_url,
)
from cryoclarity.errors import InputError
from tests.select_stage.generated import World, csv_body
from tests.select_stage.server import Services, always, busy_first, cut_whole, first

QUERY = 'current_status:"REL" AND resolution:[2 TO 6]'
QUICK = Politeness(requests_per_s=1e6, attempts=3, backoff_s=0.001)


@pytest.fixture
def world():
    return World(2300)


@pytest.fixture
def services(world):
    with Services(world.rows(), {}) as services:
        yield services


@pytest.fixture
def responses(tmp_path):
    return Responses(tmp_path / "responses", QUICK)


def test_query_stands_in_the_path():
    url = search_url("https://x/api/", 'a:"b c" AND d:[2 TO 6]/e', 10, 3)
    assert url.startswith(
        "https://x/api/search/a%3A%22b%20c%22%20AND%20d%3A%5B2%20TO%206%5D%2Fe?rows=10&page=3&fl="
    )


def test_example_rows(shared):
    rows = parse_rows((shared / "reference/api/emdb_search.csv").read_bytes())
    facts = {row["emdb_id"]: facts_of_row(row) for row in rows}
    assert facts["EMD-90002"].pdb_ids == ("9za1", "9za2")
    assert facts["EMD-90002"].title == "Example trimeric protein complex, second state"
    assert facts["EMD-90001"].half_maps[1] == "emd_90001_half_map_2.map.gz"
    assert facts["EMD-90005"].resolution is None
    assert facts["EMD-90006"].status == "OBS"
    assert released_count((shared / "reference/api/emdb_facet.json").read_bytes()) == 7
    assert parse_rows((shared / "reference/api/emdb_search_empty.csv").read_bytes()) == []
    assert parse_rows(b"") == []


def test_order_and_repeats_do_not_matter(world):
    first_rows = in_order(parse_rows(world.csv(order=0)))
    assert first_rows == in_order(parse_rows(world.csv(order=1)))
    assert len(first_rows) == 2300
    numbers = [int(row["emdb_id"][4:]) for row in first_rows]
    assert numbers == sorted(numbers)


def test_titles_keep_their_commas_quotes_and_line_ends(world):
    titles = {row["title"] for row in in_order(parse_rows(world.csv()))}
    assert any("\n" in title for title in titles)
    assert any('"' in title and "," in title for title in titles)
    assert all("\n" not in facts_of_row(row).title for row in parse_rows(world.csv()))


def test_of_two_rows_the_choice_does_not_depend_on_order():
    one = dict.fromkeys(FIELDS, "") | {"emdb_id": "EMD-1234", "title": "old"}
    other = one | {"title": "new"}
    assert in_order([one, other]) == in_order([other, one])


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"emdb_id,title\nEMD-1234,x\n", "NET_SCHEMA"),
        (csv_body([["EMD-1234"]]), "NET_INCOMPLETE"),
        (csv_body([]) + b'EMD-1234,"cut in the tit', "NET_INCOMPLETE"),
        (csv_body([]) + b'EMD-1234,"cut in the tit\xc3', "NET_INCOMPLETE"),
    ],
)
def test_bad_tables_have_a_code(body, code):
    with pytest.raises(InputError) as caught:
        parse_rows(body)
    assert caught.value.code == code


@pytest.mark.parametrize("body", [b"[]", b'{"x": 1}', b'{"current_status": {"REL": "many"}}'])
def test_bad_facets_have_a_code(body):
    with pytest.raises(InputError, match="NET_SCHEMA"):
        released_count(body)


def test_one_request_when_complete(services, responses):
    rows = search(responses, services.api, QUERY)
    assert len(rows) == 2300
    assert services.asked("/emdb/api/search/") == 1
    assert services.asked("/emdb/api/facet/") == 1


VICES = {
    "cut": cut_whole,
    "empty": lambda handler, count, body: handler.answer(
        200, b"" if "rows=1000000" in handler.path else body
    ),
    "json": lambda handler, count, body: handler.answer(
        200, b"[]" if "rows=1000000" in handler.path else body
    ),
    "short": lambda handler, count, body: handler.answer(
        200, csv_body(handler.server.rows[:50]) if "rows=1000000" in handler.path else body
    ),
    "refused": lambda handler, count, body: handler.answer(
        500 if "rows=1000000" in handler.path else 200, body
    ),
}


@pytest.mark.parametrize("vice", VICES)
def test_incomplete_answers_fall_back_to_pages(services, responses, vice):
    services.vices["/emdb/api/search/"] = VICES[vice]
    rows = search(responses, services.api, QUERY)
    assert len(rows) == 2300
    requests = sum(services.requests.values())
    replayed = search(Responses(responses.folder, QUICK, offline=True), services.api, QUERY)
    assert replayed == rows
    assert sum(services.requests.values()) == requests


def test_pages_that_do_not_hold_all_stop_and_are_forgotten(services, responses):
    services.released = 9999
    with pytest.raises(InputError, match=r"NET_INCOMPLETE.*of 9999"):
        search(responses, services.api, QUERY)
    services.released = None
    again = Responses(responses.folder, QUICK)
    assert len(search(again, services.api, QUERY)) == 2300


def test_busy_and_web_pages_are_asked_again(services, responses):
    services.vices["/emdb/api/facet/"] = busy_first(2, Retry_After="0")
    services.vices["/emdb/api/search/"] = first(b"<html>busy</html>")
    assert len(search(responses, services.api, QUERY)) == 2300


def test_a_host_that_stays_busy_is_not_asked_for_pages(services, responses):
    services.vices["/emdb/api/search/"] = always(b"", 429)
    with pytest.raises(InputError, match="NET_RATE_LIMITED"):
        search(responses, services.api, QUERY)
    assert services.asked("/emdb/api/search/") == 3


def test_no_hit(tmp_path, responses):
    with Services([], {}) as services:
        assert search(responses, services.api, QUERY) == []
        services.vices["/emdb/api/search/"] = always(b"")
        empty = Responses(tmp_path / "other", QUICK)
        assert search(empty, services.api, QUERY) == []
