"""Metrics whose states are counts, which several processes or replicas can add."""

import keras


class MergeableMetric(keras.metrics.Metric):
    """A metric whose state is merged by adding it; every variable, unless a subclass says how."""

    def merge_state(self, metrics):
        """Adds what other metrics of the same arguments have counted.

        Args:
            metrics: Metrics of this class, or one; their own state stays as it is.

        Raises:
            ValueError: If one is of another class or of other arguments. Nothing is added then.
        """
        config = {**self.get_config(), "name": None}
        metrics = [metrics] if isinstance(metrics, keras.metrics.Metric) else list(metrics)
        for metric in metrics:
            if type(metric) is not type(self) or {**metric.get_config(), "name": None} != config:
                raise ValueError(
                    f"`metrics` must be of the class {type(self).__name__} and the arguments "
                    f"{config}. Received: {metric!r}, {metric.get_config()}"
                )
        for metric in metrics:
            self._add(metric)

    def _add(self, metric):
        for mine, other in zip(self.variables, metric.variables, strict=True):
            mine.assign(mine + other)
