import keras
import pytest

from keras_cvx.testing import CLAUSES, ContractError, check


@pytest.fixture(scope="session")
def assert_breach():
    """Asserts that a clause fails, unless it is skipped, with a message after the object's name."""

    def of(arguments, clause, message, **options):
        if clause == "compiled" and keras.config.backend() == "torch":
            pytest.skip("nothing is compiled on torch")
        name = keras.saving.get_registered_name(arguments[0])
        message = f"^{name} breaks the clause '{clause}': .*{message}"
        with pytest.raises(ContractError, match=message) as caught:
            check(*arguments, skip=set(CLAUSES) - {clause}, **options)
        assert caught.value.clause == clause
        check(*arguments, skip=CLAUSES, **options)

    return of
