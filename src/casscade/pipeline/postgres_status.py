"""The writer's session with PostgreSQL: how it is configured, and what is shown of it.

Invariant: what is shown holds counts, times and codes, never a connection's address or credential.
"""

from __future__ import annotations

from typing import Any

from casscade.config import PipelineConfig
from casscade.core.circuit import CircuitState
from casscade.core.retry import RetryPolicy
from casscade.load.session import PostgresSession, SessionOptions, SessionState
from casscade.observability.metrics import Metrics


def session_options(config: PipelineConfig) -> SessionOptions:
    """The configured retries and circuit breaker."""
    retry, circuit = config.load.retry, config.load.circuit
    policy = RetryPolicy(retry.first_ms / 1000, retry.max_ms / 1000, float(retry.for_seconds))
    return SessionOptions(policy, circuit.failures, float(circuit.open_seconds))


class SessionShown:
    """Retries and circuit breaker of a session."""

    def __init__(self, session: PostgresSession) -> None:
        self._session = session

    def status(self) -> dict[str, Any]:
        """For the status document."""
        state: SessionState = self._session.state()
        return {
            "circuit": state.circuit.value,
            "circuit_opened": state.opened,
            "failures": state.failures,
            "failing_seconds": round(state.failing_s, 1),
            "last_code": state.code or None,
            "next_try_seconds": round(state.wait_s, 1),
        }

    def copy(self, metrics: Metrics) -> None:
        """Into the metrics."""
        state = self._session.state()
        metrics.set("casscade_circuit_open_flag", float(state.circuit is not CircuitState.CLOSED))
        metrics.set_total("casscade_circuit_opened_times_total", state.opened)
        metrics.set("casscade_load_failing_attempts", state.failures)
        metrics.set("casscade_load_failing_seconds", state.failing_s)
        metrics.set("casscade_load_next_try_seconds", state.wait_s)
