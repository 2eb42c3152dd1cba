"""Whether a form with its coefficients is elliptic: looked at on fine cells before any patch is solved."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy import ndarray
from skfem import BilinearForm
from skfem.assembly.form.form import FormExtraParams
from skfem.element import DiscreteField

from skfem_ml.lod.mesh.forms import CHUNK, FineForm
from skfem_ml.meshes.forms import check_symmetric, element_matrices

SAMPLE = 64  # fine cells that are looked at where every coefficient is positive
ROUNDING = 1e-10

Kernel = Callable[[DiscreteField, DiscreteField, FormExtraParams], ndarray]


def check_elliptic(form: FineForm) -> None:
    """Refuse forms that are not elliptic, not real or ask for what Q1 functions have not.

    On fine cells (some of all, and one in every coefficient cell where a coefficient is not positive) the principal
    part of the form, what is left of it when the values of u and v are set to zero and their gradients kept, must be
    positive semidefinite, and the form not zero; terms of lower order may have any sign. A form without gradients must
    be positive semidefinite itself.

    Raises ValueError naming the coefficient, first cell, value and count, and TypeError for complex forms and second
    derivatives.
    """
    _check_derivatives(form)
    cells = _cells(form)
    parts = [_parts(form, cells[start : start + CHUNK]) for start in range(0, len(cells), CHUNK)]
    whole, leading = (np.concatenate(part) for part in zip(*parts, strict=True))
    if not np.isfinite(whole).all():
        raise ValueError("form: expected finite element matrices, got nan or inf; check the form and its coefficients")
    check_symmetric(whole)
    bad = _not_elliptic(whole, leading)
    if bad.any():
        raise ValueError(_reason(form, int(cells[bad.argmax()])))


def _cells(form: FineForm) -> ndarray:
    """The fine cells to look at: a sample of all, and one of every coefficient cell where a coefficient that the
    principal part depends on is not positive.
    """
    space, count = form.space, form.space.refinement.cells.size
    sample = np.linspace(0, count - 1, min(count, SAMPLE)).astype(int)
    fine_cell = np.empty(space.coefficient_refinement.cells.size, dtype=int)
    fine_cell[space.coefficient_cell] = np.arange(count)
    suspect = np.zeros(len(fine_cell), dtype=bool)
    for name, value in form.coefficients.items():
        bad = _not_positive(value) if isinstance(value, ndarray) else np.zeros(0, dtype=bool)
        if bad.any() and _decides(form, name, fine_cell[bad.argmax()]):
            suspect |= bad
    return np.concatenate([fine_cell[suspect], sample])


def _decides(form: FineForm, name: str, cell: int) -> bool:
    """Whether the principal part on a cell (or the form, if that is zero) depends on a coefficient."""
    cells = np.array([cell])
    given = form.arguments(cells)[name]
    before, after = _parts(form, cells), _parts(form, cells, **{name: given + 1.0})
    leading = before[1].any() or after[1].any()
    return not np.array_equal(before[int(leading)], after[int(leading)])


def _not_positive(value: ndarray) -> ndarray:
    if value.ndim == 1:
        return value <= 0
    return np.linalg.eigvalsh(value.transpose(2, 0, 1))[:, 0] <= 0


def _parts(form: FineForm, cells: ndarray, **changed: float | ndarray) -> tuple[ndarray, ndarray]:
    """Element matrices on some cells, of the form and of its principal part."""
    order, basis = form.space.fine_order(cells), form.space.fine_basis(cells)
    arguments = {**form.arguments(cells), **changed}

    def leading(u: DiscreteField, v: DiscreteField, w: FormExtraParams) -> ndarray:
        return form.form.form(_gradient_alone(u), _gradient_alone(v), w)

    return (
        element_matrices(form.form, basis, arguments, order),
        element_matrices(BilinearForm(leading), basis, arguments, order),
    )


def _gradient_alone(u: DiscreteField) -> DiscreteField:
    return DiscreteField(np.zeros_like(np.asarray(u)), grad=u.grad)


def _not_elliptic(whole: ndarray, leading: ndarray) -> ndarray:
    """Which cells spoil it, ``(k,)``."""
    if leading.any():
        size = whole.shape[1]
        mean_free = np.linalg.qr(np.column_stack([np.ones(size), np.eye(size)[:, 1:]]))[0][:, 1:]
        tested = mean_free.T @ leading @ mean_free
    else:
        tested = whole
    eigenvalues = np.linalg.eigvalsh((tested + tested.transpose(0, 2, 1)) / 2)
    negative = eigenvalues[:, 0] < -ROUNDING * np.abs(eigenvalues).max(axis=1)
    return negative | ~whole.any(axis=(1, 2))


def _reason(form: FineForm, cell: int) -> str:
    """What to say of a fine cell that spoils it: the coefficient that does, if a positive value would mend it."""
    at = int(form.space.coefficient_cell[cell])
    for name, value in form.coefficients.items():
        given = value[..., at] if isinstance(value, ndarray) else value
        bad = _not_positive(value) if isinstance(value, ndarray) else np.array([value <= 0])
        if not bad[at if isinstance(value, ndarray) else 0]:
            continue
        mended = np.eye(np.shape(given)[0])[..., None, None] if np.ndim(given) == 2 else abs(float(given)) or 1.0
        if not _not_elliptic(*_parts(form, np.array([cell]), **{name: mended})).any():
            if not isinstance(value, ndarray):
                return f"{name}: expected a positive, finite number, got {value}; the form is not elliptic with it"
            return (
                f"{name}: {int(bad.sum())} of {bad.size} values are not positive, the first is "
                f"{value[..., bad.argmax()].tolist()} in cell {bad.argmax()}; the form is not elliptic there, give "
                "every cell a positive, finite value"
            )
    return (
        f"form: expected an elliptic form, got one whose principal part is zero or indefinite in the fine cell {cell}; "
        "check the signs of its terms and coefficients"
    )


def _check_derivatives(form: FineForm) -> None:
    """Evaluate the form on one cell: complex values and second derivatives are refused."""
    cell = np.zeros(1, dtype=int)
    try:
        values = _trial(form, cell, form.form.form)
    except (AttributeError, IndexError, TypeError, ValueError) as error:
        try:
            _trial(form, cell, lambda u, v, w: form.form.form(_with_second(u), _with_second(v), w))
        except Exception:
            raise error from None
        raise TypeError(
            "form: expected first derivatives at most, got a form with second derivatives; Q1 functions have none"
        ) from error
    if np.iscomplexobj(values) and np.abs(values.imag).max() > 0:
        raise TypeError("form: expected a real form, got one with complex values; assemble the parts on their own")


def _trial(form: FineForm, cells: ndarray, kernel: Kernel) -> ndarray:
    basis = form.space.fine_basis(cells)
    return BilinearForm(kernel, dtype=np.complex128).elemental(basis, **form.arguments(cells)).data


def _with_second(u: DiscreteField) -> DiscreteField:
    dim = u.grad.shape[0]
    return DiscreteField(np.asarray(u), grad=u.grad, hess=np.zeros((dim, *u.grad.shape)))
