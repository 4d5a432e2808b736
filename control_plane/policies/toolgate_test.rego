package toolgate.authz_test

import data.toolgate.authz

call(roles, changes) := object.union(
	{
		"user": {"groups": ["staff"], "attributes": {"dept": "eng", "level": 3, "mfa": true}},
		"agent": null,
		"roles": roles,
		"endpoint": "default",
		"action": "tools/call",
		"ctx": {"hour": 9, "weekday": "Monday", "ip": "10.1.2.3"},
		"tool": {
			"name": "git__log", "upstream_name": "log", "server": "git",
			"risk": "medium", "labels": {"env": "prod"}, "read_only": true,
		},
	},
	changes,
)

# A tenant whose one role allows what meets the check, on the tool or on the caller.
what(check) := {"r": {"allow": {"globs": [{"what": [check], "who": []}]}}}

who(check) := {"r": {"allow": {"globs": [{"what": [], "who": [check]}]}}}

everything := {"globs": [{"what": [], "who": []}]}

allowed(roles) if authz.decision.allow with input as call(["r"], {}) with data.roles as roles

test_without_a_role_nothing_is_allowed if {
	d := authz.decision with input as call([], {}) with data.roles as {"r": {"allow": everything}}
	d == {"allow": false, "reasons": ["no_role"]}
}

test_a_role_nobody_declared_is_no_role if {
	d := authz.decision with input as call(["ghost"], {}) with data.roles as {"r": {"allow": everything}}
	d == {"allow": false, "reasons": ["no_role"]}
}

test_a_role_without_a_permission_that_applies_allows_nothing if {
	d := authz.decision with input as call(["r"], {}) with data.roles as {"r": {"allow": {"exact": {"other": []}}}}
	d == {"allow": false, "reasons": ["no_permission"]}
}

test_the_reasons_name_every_role_that_allows if {
	roles := {"b": {"allow": everything}, "a": {"allow": everything}, "c": {"allow": {"globs": []}}}
	d := authz.decision with input as call(["b", "c", "a"], {}) with data.roles as roles
	d == {"allow": true, "reasons": ["role:a", "role:b"]}
}

test_a_deny_of_any_role_wins if {
	roles := {"a": {"allow": everything}, "b": {"deny": everything}}
	d := authz.decision with input as call(["a", "b"], {}) with data.roles as roles
	d == {"allow": false, "reasons": ["denied_by_role:b"]}
}

test_an_exact_permission_is_found_by_the_name_at_the_server if {
	roles := {"r": {"allow": {"exact": {"log": [{"what": [], "who": []}]}}}}
	allowed(roles)
	not authz.decision.allow with input as call(["r"], {"tool": {"upstream_name": "push"}}) with data.roles as roles
}

test_all_checks_of_a_permission_must_hold if {
	env := {"path": ["labels", "env"], "op": "eq", "value": "prod"}
	low := {"path": ["risk"], "op": "risk", "than": "lte", "value": 0}
	allowed({"r": {"allow": {"globs": [{"what": [env], "who": []}]}}})
	not allowed({"r": {"allow": {"globs": [{"what": [env, low], "who": []}]}}})
}

test_globs_match_exactly_by_prefix_by_suffix_and_by_pattern if {
	every globs in [
		{"exact": {"log": true}},
		{"prefixes": ["x", "lo"]},
		{"suffixes": ["og"]},
		{"patterns": [`^(?s:l.g)$`]},
	] {
		allowed(what({"path": ["upstream_name"], "op": "named", "value": globs}))
	}
	not allowed(what({"path": ["upstream_name"], "op": "named", "value": {"exact": {"lo": true}, "prefixes": ["og"]}}))
}

test_risks_are_ordered if {
	every than, value in {"lte": 1, "gte": 1, "lt": 2, "gt": 0} {
		allowed(what({"path": ["risk"], "op": "risk", "than": than, "value": value}))
	}
	every than, value in {"lte": 0, "gte": 2, "lt": 1, "gt": 1} {
		not allowed(what({"path": ["risk"], "op": "risk", "than": than, "value": value}))
	}
}

test_each_operator_holds_where_it_should if {
	every check in [
		{"path": ["user", "attributes", "dept"], "op": "eq", "value": "eng"},
		{"path": ["user", "attributes", "dept"], "op": "ne", "value": "hr"},
		{"path": ["user", "attributes", "dept"], "op": "in", "value": ["hr", "eng"]},
		{"path": ["user", "attributes", "dept"], "op": "not_in", "value": ["hr"]},
		{"path": ["user", "attributes", "level"], "op": "lt", "value": 4},
		{"path": ["user", "attributes", "level"], "op": "gte", "value": 3},
		{"path": ["user", "groups"], "op": "contains", "value": "staff"},
		{"path": ["user", "attributes", "dept"], "op": "contains", "value": "ng"},
		{"path": ["ctx", "ip"], "op": "cidr", "value": ["192.168.0.0/16", "10.0.0.0/8"]},
	] {
		allowed(who(check))
	}
}

test_an_absent_attribute_satisfies_no_operator if {
	every op in ["eq", "ne", "in", "not_in", "lt", "lte", "gt", "gte", "contains", "cidr"] {
		every path in [["user", "attributes", "absent"], ["agent", "attributes", "dept"], ["ctx", "absent"]] {
			every value in ["x", 0, ["x"]] {
				not allowed(who({"path": path, "op": op, "value": value}))
			}
		}
	}
}

test_a_value_of_another_type_satisfies_no_operator if {
	every op in ["eq", "ne", "in", "not_in", "lt", "lte", "gt", "gte", "contains", "cidr"] {
		not allowed(who({"path": ["user", "attributes", "dept"], "op": op, "value": 5}))
		not allowed(who({"path": ["user", "attributes", "level"], "op": op, "value": "5"}))
		not allowed(who({"path": ["user", "attributes", "mfa"], "op": op, "value": 0}))
	}
	not allowed(who({"path": ["user", "attributes", "level"], "op": "not_in", "value": ["5"]}))
	not allowed(who({"path": ["user", "attributes", "mfa"], "op": "gt", "value": false}))
}

test_visible_is_what_a_decision_would_allow if {
	roles := {
		"a": {"allow": {"globs": [{
			"what": [{"path": ["risk"], "op": "risk", "than": "lte", "value": 1}],
			"who": [],
		}]}},
		"b": {"deny": {"exact": {"push": [{"what": [], "who": []}]}}},
	}
	base := call(["a", "b"], {}).tool
	tools := [
		object.union(base, {"name": "git__log"}),
		object.union(base, {"name": "git__push", "upstream_name": "push"}),
		object.union(base, {"name": "git__wipe", "upstream_name": "wipe", "risk": "critical"}),
	]
	names := authz.visible with input as call(["a", "b"], {"tools": tools}) with data.roles as roles
	names == ["git__log"]
}

test_a_request_without_a_tool_is_denied if {
	d := authz.decision with input as object.remove(call(["r"], {}), ["tool"]) with data.roles as {"r": {"allow": {
		"exact": {"log": [{"what": [], "who": []}]},
		"globs": [{"what": [{"path": ["server"], "op": "eq", "value": "git"}], "who": []}],
	}}}
	not d.allow
}

about(action, member) := object.union(
	object.remove(call(["r"], {"action": action}), ["tool"]),
	{member: call([], {}).tool},
)

test_a_role_of_tools_says_nothing_of_prompts_and_resources if {
	roles := {"r": {"allow": everything}}
	allowed(roles)
	not authz.decision.allow with input as about("prompts/get", "prompt") with data.roles as roles
	not authz.decision.allow with input as about("resources/read", "resource") with data.roles as roles
}

test_prompts_and_resources_have_permissions_of_their_own if {
	prompts := {"r": {"prompts": {"allow": everything}}}
	authz.decision.allow with input as about("prompts/get", "prompt") with data.roles as prompts
	not authz.decision.allow with input as about("resources/read", "resource") with data.roles as prompts
	not allowed(prompts)
	resources := {"r": {"resources": {"allow": {"exact": {"log": [{"what": [], "who": []}]}}, "deny": {"globs": []}}}}
	authz.decision.allow with input as about("resources/read", "resource") with data.roles as resources
}

test_a_denial_is_of_its_kind_too if {
	roles := {"r": {"allow": everything, "prompts": {"allow": everything, "deny": everything}}}
	d := authz.decision with input as about("prompts/get", "prompt") with data.roles as roles
	d == {"allow": false, "reasons": ["denied_by_role:r"]}
	allowed(roles)
}

test_what_is_asked_about_must_be_what_the_action_says if {
	roles := {"r": {"allow": everything, "prompts": {"allow": everything}, "resources": {"allow": everything}}}
	not authz.decision.allow with input as about("prompts/get", "tool") with data.roles as roles
	not authz.decision.allow with input as about("tools/call", "prompt") with data.roles as roles
	not authz.decision.allow with input as about("tools/list", "tool") with data.roles as roles
	not authz.decision.allow with input as object.remove(call(["r"], {}), ["action"]) with data.roles as roles
}

test_prompts_and_resources_are_visible_as_tools_are if {
	roles := {"r": {"prompts": {"allow": everything}, "resources": {"deny": everything, "allow": everything}}}
	one := call([], {}).tool
	prompts := object.union(about("prompts/get", "x"), {"prompts": [one], "resources": [one], "tools": [one]})
	["git__log"] == authz.visible with input as prompts with data.roles as roles
	[] == authz.visible with input as object.union(prompts, {"action": "resources/read"}) with data.roles as roles
	[] == authz.visible with input as object.union(prompts, {"action": "tools/call"}) with data.roles as roles
}

test_a_tenants_refusal_sees_prompts_and_resources_by_their_own_names if {
	roles := {"r": {"prompts": {"allow": everything}, "resources": {"allow": everything}}}
	mine := {"p": {"deny": {"secret"}}}
	d := authz.decision with input as about("resources/read", "resource") with data.roles as roles
		with data.toolgate.tenant as mine
	d == {"allow": false, "reasons": ["tenant:secret"]}
}

allow_if(check) := {"r": {"allow": {"globs": [{"n": 0, "what": [], "who": [], "args": [check]}]}}}

bar_if(check) := {"r": {
	"allow": everything,
	"deny": {"globs": [{"n": 1, "what": [], "who": [], "bars": [check]}]},
}}

test_an_argument_decides if {
	check := {"path": ["amount"], "op": "lte", "value": 100}
	every value, allow in {100: true, 101: false} {
		d := authz.decision with input as call(["r"], {"args": {"amount": value}}) with data.roles as allow_if(check)
		d.allow == allow
	}
	not authz.decision.allow with input as call(["r"], {"args": {}}) with data.roles as allow_if(check)
	not authz.decision.allow with input as call(["r"], {"args": {"amount": "5"}}) with data.roles as allow_if(check)
}

test_what_some_arguments_may_allow_is_allowed_before_they_are_known if {
	check := {"path": ["amount"], "op": "lte", "value": 100}
	allowed(allow_if(check))
	allowed(bar_if(check))
}

test_an_argument_of_another_type_bars if {
	barred := {"eq": 5, "ne": 5, "gt": 5, "in": [5], "not_in": [5], "contains": "x"}
	every op, value in barred {
		every given in [{}, null, true] {
			d := authz.decision with input as call(["r"], {"args": {"x": given}})
				with data.roles as bar_if({"path": ["x"], "op": op, "value": value})
			d == {"allow": false, "reasons": ["denied_by_role:r"]}
		}
	}
}

test_an_argument_bars_where_its_check_holds_and_else_does_not if {
	bars := bar_if({"path": ["x"], "op": "gt", "value": 5})
	not authz.decision.allow with input as call(["r"], {"args": {"x": 6}}) with data.roles as bars
	every args in [{"x": 5}, {}] {
		authz.decision.allow with input as call(["r"], {"args": args}) with data.roles as bars
	}
}

obliging(obligations) := {"r": {"allow": {"globs": [{"n": 0, "what": [], "who": [], "oblige": obligations}]}}}

test_obligations_of_all_that_allows_add_up if {
	roles := {
		"a": obliging(["mask:pii"]).r,
		"b": {"allow": {"exact": {"log": [{"n": 0, "what": [], "who": [], "oblige": ["approval"]}]}}},
		"c": {"allow": everything},
		"d": {"allow": {"exact": {"other": [{"n": 0, "what": [], "who": [], "oblige": ["rate:x"]}]}}},
	}
	d := authz.decision with input as call(["a", "b", "c", "d"], {}) with data.roles as roles with data.obliges as true
	d == {"allow": true, "reasons": ["role:a", "role:b", "role:c"], "obligations": ["approval", "mask:pii"]}
}

test_a_tenants_policy_may_oblige_and_nothing_malformed_is_met if {
	every oblige, met in {"a": {"approval"}, "b": {"malformed"}} {
		tenant := {"p": {"deny": set(), "oblige": {"a": {"approval"}, "b": "approval"}[oblige]}}
		d := authz.decision with input as call(["r"], {}) with data.roles as {"r": {"allow": everything}}
			with data.toolgate.tenant as tenant
		d == {"allow": true, "reasons": ["role:r"], "obligations": [word | some word in met]}
	}
}

test_explain_names_what_applied_and_what_kept_the_rest if {
	check := {"path": ["risk"], "op": "risk", "than": "lte", "value": 0}
	roles := {"r": {
		"allow": {"exact": {"log": [{"n": 2, "what": [check], "who": []}]}, "globs": [{"n": 0, "what": [], "who": []}]},
		"deny": {"globs": [{"n": 1, "what": [], "who": [], "bars": [{"path": ["x"], "op": "eq", "value": 1}]}]},
	}}
	e := authz.explain with input as call(["r"], {"args": {"x": 2}}) with data.roles as roles
	e.decision == {"allow": true, "reasons": ["role:r"]}
	e.applied == [{"role": "r", "effect": "allow", "permission": 0}]
	e.missed == [
		{"role": "r", "effect": "allow", "permission": 2, "failed": [check]},
		{"role": "r", "effect": "deny", "permission": 1, "failed": [{"path": ["x"], "op": "eq", "value": 1}]},
	]
}
