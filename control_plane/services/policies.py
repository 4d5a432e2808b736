"""A tenant's policy: the shipped module, or one with the tenant's own Rego in it, and the data made of its roles."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from control_plane.compiler.policy import policy_data, role_problems
from control_plane.compiler.source import Found, TenantPolicy, found_in
from core.bound import Bound, Hits
from core.identity import Role
from core.policy import Policy, PolicyCompiler, PolicyCompilerMissing, RegoRejected
from core.resource import Problem, Ref, Resource, digest, encode

_Value = TypeVar("_Value")

MODULES_KEPT = 64
REFUSALS_KEPT = 256


class RegoPolicies:
    """Compiles a set of Rego modules once; tenants without any share the shipped module."""

    def __init__(self, platform: bytes, compiler: PolicyCompiler) -> None:
        self._platform = platform
        self._compiler = compiler
        self._modules: OrderedDict[bytes, bytes] = OrderedDict()
        self._refusals: OrderedDict[bytes, dict[str, list[Problem]]] = OrderedDict()
        self._modules_full, self._refusals_full = Hits(), Hits()

    def bounds(self) -> dict[str, Bound]:
        return {
            "policy_modules": Bound(len(self._modules), MODULES_KEPT, self._modules_full.count),
            "policy_refusals": Bound(len(self._refusals), REFUSALS_KEPT, self._refusals_full.count),
        }

    async def make(self, resources: Sequence[Resource]) -> TenantPolicy | list[Found]:
        """The policy, or everything wrong with the roles and the Rego it is made of."""
        roles = {r.name: r.spec for r in resources if isinstance(r.spec, Role)}
        own = [(r.ref, r.spec) for r in resources if isinstance(r.spec, Policy) and not r.spec.disabled]
        found = list(_role_faults(resources))
        module = await self._module(own)
        if isinstance(module, list):
            return found + module
        if found:
            return found
        return TenantPolicy(module=module, data=policy_data(roles, [policy.rego for _, policy in own]))

    async def _module(self, own: Sequence[tuple[Ref, Policy]]) -> bytes | list[Found]:
        if not own:
            return self._platform
        modules = {ref.name: policy.rego for ref, policy in own}
        tests = {ref.name: policy.tests for ref, policy in own if policy.tests.strip()}
        source = digest(encode((modules, tests)))
        if source in self._refusals:
            return list(_faults(own, self._refusals[source]))
        try:
            module = self._modules.get(source) or await self._compiler.compile(modules, tests)
        except RegoRejected as rejected:
            if not rejected.by_policy.get(""):  # What is no policy's own fault, such as a deadline, may pass.
                _keep(self._refusals, source, rejected.by_policy, REFUSALS_KEPT, self._refusals_full)
            return list(_faults(own, rejected.by_policy))
        except PolicyCompilerMissing as missing:
            return list(_faults(own, {"": [Problem("spec.rego", str(missing))]}))
        _keep(self._modules, source, module, MODULES_KEPT, self._modules_full)
        return module


def _keep(kept: OrderedDict[bytes, _Value], key: bytes, value: _Value, most: int, full: Hits) -> None:
    kept[key] = value
    kept.move_to_end(key)
    while len(kept) > most:
        kept.popitem(last=False)
        full.count += 1


def _role_faults(resources: Iterable[Resource]) -> Iterator[Found]:
    for resource in resources:
        if isinstance(resource.spec, Role):
            yield from found_in(resource.ref, role_problems(resource.spec))


def _faults(own: Sequence[tuple[Ref, Policy]], by_policy: dict[str, list[Problem]]) -> Iterator[Found]:
    """Problems of no policy in particular are told of every one, and may pass: the compiler was not well."""
    for ref, _ in own:
        yield from found_in(ref, by_policy.get(ref.name, ()))
        yield from (Found(ref, p.path, p.rule, passing=True) for p in by_policy.get("", ()))
