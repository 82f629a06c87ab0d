"""Tickets for the dashboard: once, and soon."""

from __future__ import annotations

from p2pqwen.server.tickets import MOST, SECONDS, Tickets


def test_a_ticket_is_good_once():
    tickets = Tickets()
    one, two = tickets.issue(), tickets.issue()
    assert one != two
    assert tickets.redeem(one)
    assert not tickets.redeem(one)
    assert tickets.redeem(two)


def test_a_ticket_is_good_for_a_minute():
    now = 0.0
    tickets = Tickets(clock=lambda: now)
    one, two = tickets.issue(), tickets.issue()
    now = SECONDS - 1
    assert tickets.redeem(one)
    now = SECONDS
    assert not tickets.redeem(two)


def test_what_was_never_issued_is_none():
    tickets = Tickets()
    tickets.issue()
    assert not any(tickets.redeem(one) for one in ("", "x", "\ud800", "é" * 40))


def test_so_many_are_open_and_no_more():
    tickets = Tickets()
    issued = [tickets.issue() for _ in range(MOST + 3)]
    assert [tickets.redeem(one) for one in issued] == [False] * 3 + [True] * MOST
