"""What a role allows at the admin API."""

import pytest

from core.identity import AdminPermission, Role


@pytest.mark.parametrize(
    ("permission", "asked", "allowed"),
    [
        ({"kinds": ["Policy"]}, ("apply", "Policy", "night", {}), True),
        ({"kinds": ["Policy"]}, ("delete", "Policy", "night", {}), False),
        ({"kinds": ["Policy"]}, ("apply", "Role", "night", {}), False),
        ({"kinds": ["*"]}, ("apply", "Secret", "s", {}), True),
        ({"kinds": ["*"]}, ("apply", "ApiKey", "mine", {}), False),
        ({"kinds": ["*"], "verbs": ["get"]}, ("get", "ApiKey", "mine", {}), True),
        ({"kinds": ["Role"], "names": ["support-*"]}, ("apply", "Role", "support-lead", {}), True),
        ({"kinds": ["Role"], "names": ["support-*"]}, ("apply", "Role", "sales", {}), False),
        ({"kinds": ["Role"], "names": ["t?"]}, ("apply", "Role", "t1", {}), True),
        ({"kinds": ["Role"], "labels": {"team": "a"}}, ("apply", "Role", "x", {"team": "a", "b": "c"}), True),
        ({"kinds": ["Role"], "labels": {"team": "a"}}, ("apply", "Role", "x", {"team": "b"}), False),
        ({"kinds": ["Role"], "labels": {"team": "a"}}, ("apply", "Role", "x", {}), False),
        ({"kinds": ["Role"], "labels": {"team": "a"}}, ("apply", "Role", "x", None), True),
    ],
)
def test_all_of_a_permission_must_match(permission, asked, allowed):
    assert AdminPermission(**{"verbs": ["apply"], **permission}).allows(*asked) is allowed


def test_what_can_never_be_granted_is_a_problem():
    granted = [
        AdminPermission(verbs=["apply"], kinds=["ApiKey"]),
        AdminPermission(verbs=["get", "list"], kinds=["ApiKey"]),
        AdminPermission(verbs=[], kinds=["role"], names=["a[b]"]),
    ]
    assert [problem.path for problem in Role(permissions=[], admin=granted).problems()] == [
        "spec.admin[0].kinds[0]",
        "spec.admin[2].verbs",
        "spec.admin[2].kinds[0]",
        "spec.admin[2].names[0]",
    ]
