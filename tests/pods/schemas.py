# SPDX-License-Identifier: Apache-2.0
"""Objects of Kubernetes against its published schemas, as Debian's python3-kubernetes has them: classes that
Kubernetes' project makes of its OpenAPI description. What is misspelt, misplaced, of another type, not one of the
values that there are, or missing is told by its place."""

import re

from kubernetes import client
from kubernetes.client import models

QUANTITY = re.compile(r"[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti)?")
SCALARS = {"str": str, "int": int, "bool": bool, "float": (int, float)}


def model_of(document):
    """The class of an object by its apiVersion and kind; None for what is none of Kubernetes' own."""
    group, _, version = document["apiVersion"].rpartition("/")
    if "." in group and not group.endswith(".k8s.io"):
        return None
    return getattr(models, version.capitalize() + document["kind"], None)


def check_value(kind, value, place):
    listed = re.fullmatch(r"list\[(.*)\]", kind)
    mapped = re.fullmatch(r"dict\(str, (.*)\)", kind)
    if listed:
        if not isinstance(value, list):
            yield f"{place}: not a list"
            return
        for i, one in enumerate(value):
            yield from check_value(listed.group(1), one, f"{place}[{i}]")
    elif mapped:
        if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
            yield f"{place}: not a map"
            return
        quantities = re.search(r"\.(limits|requests|capacity)$", place)
        for key, one in value.items():
            if quantities and not QUANTITY.fullmatch(str(one)):
                yield f"{place}.{key}: '{one}' is no quantity"
            yield from check_value(mapped.group(1), str(one) if quantities else one, f"{place}.{key}")
    elif kind == "object":
        if isinstance(value, (list, dict)):
            yield f"{place}: neither a number nor text"
    elif kind in SCALARS:
        if not isinstance(value, SCALARS[kind]) or (kind != "bool" and isinstance(value, bool)):
            yield f"{place}: {value!r} is no {kind}"
    else:
        yield from check_model(getattr(models, kind), value, place)


def check_model(model, value, place):
    """Yield what is wrong with @value, which is to be one of @model."""
    if not isinstance(value, dict):
        yield f"{place}: not an object"
        return
    attributes = {name: attribute for attribute, name in model.attribute_map.items()}
    for key, one in value.items():
        if key not in attributes:
            yield f"{place}: {model.__name__} has no field '{key}'"
        else:
            yield from check_value(model.openapi_types[attributes[key]], one, f"{place}.{key}")
    # Its own judge knows what must be there, and values that are enumerated. What values are is judged above.
    known = {attributes[key]: one for key, one in value.items() if key in attributes}
    try:
        model(**known, local_vars_configuration=client.Configuration())
    except ValueError as error:
        yield f"{place}: {error}"


def findings(document, place=""):
    """Yield what is wrong with an object, of a kind that model_of() knows."""
    yield from check_model(model_of(document), document, place or document["kind"])


def pod_findings(spec, place):
    """The same of the spec of a pod that is in an object of somebody else's kind."""
    yield from check_model(models.V1PodSpec, spec, place)
