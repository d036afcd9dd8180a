"""Writes what the host is built from as CycloneDX JSON: `sbom.py PACKAGE OUT`.

Asks cargo for the packages that PACKAGE links, on this platform; what only builds or tests it is left out.
"""

import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, XsUri
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL


def output(*command: str) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def metadata() -> dict:
    host = next(line for line in output("rustc", "-vV").splitlines() if line.startswith("host: "))
    platform = host.removeprefix("host: ")
    return json.loads(output("cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", platform))


def links(node: dict) -> Iterator[str]:
    """The packages that are linked into a package: not those for its build script or its tests."""
    for dependency in node["deps"]:
        if any(kind["kind"] is None for kind in dependency["dep_kinds"]):
            yield dependency["pkg"]


def checksums() -> dict[tuple[str, str], str]:
    lock = tomllib.loads(Path("Cargo.lock").read_text())
    return {(p["name"], p["version"]): p["checksum"] for p in lock["package"] if "checksum" in p}


def component(package: dict, checksum: str | None, kind: ComponentType) -> Component:
    name, version = package["name"], package["version"]
    # Older packages separate their licences by a slash.
    licence = (package["license"] or "").replace("/", " OR ")
    repository = package["repository"]
    return Component(
        type=kind,
        name=name,
        version=version,
        bom_ref=f"{name}@{version}",
        purl=PackageURL("cargo", None, name, version) if checksum else None,
        description=package["description"],
        licenses=[LicenseFactory().make_from_string(licence)] if licence else [],
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=checksum)] if checksum else [],
        external_references=[ExternalReference(type=ExternalReferenceType.VCS, url=XsUri(repository))] if repository else [],
    )


def bom(root: str) -> Bom:
    graph, sums = metadata(), checksums()
    packages = {package["id"]: package for package in graph["packages"]}
    nodes = {node["id"]: node for node in graph["resolve"]["nodes"]}
    [start] = [id for id, package in packages.items() if package["name"] == root and package["source"] is None]
    found: dict[str, Component] = {}
    open_ids = [start]
    while open_ids:
        id = open_ids.pop()
        if id not in found:
            package = packages[id]
            kind = ComponentType.APPLICATION if id == start else ComponentType.LIBRARY
            found[id] = component(package, sums.get((package["name"], package["version"])), kind)
            open_ids.extend(links(nodes[id]))
    result = Bom()
    result.metadata.component = found[start]
    for id, part in found.items():
        if id != start:
            result.components.add(part)
        result.register_dependency(part, [found[link] for link in links(nodes[id])])
    return result


def main() -> None:
    root, out = sys.argv[1:]
    result = bom(root)
    text = JsonV1Dot6(result).output_as_string(indent=2)
    if error := JsonStrictValidator(SchemaVersion.V1_6).validate_str(text):
        sys.exit(f"sbom: not valid: {error}")
    Path(out).write_text(text + "\n")
    print(f"sbom: {out}: {len(result.components)} packages")


if __name__ == "__main__":
    main()
