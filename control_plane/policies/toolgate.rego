# The shipped policy: roles and attributes (RBAC and ABAC), driven by data, and a tenant's own refusals.
#
# data.roles[name][effect] = {"exact": {tool: [permission...]}, "globs": [permission...]}, effect "allow" or "deny".
#   "exact" holds permissions by the tool they name; "globs" those that do not name their tools one by one.
# data.roles[name].prompts[effect], data.roles[name].resources[effect] = the same of prompts and resources.
# data.obliges: whether any permission has obligations; absent: none has.
# permission = {"n"?: place in the role, "who": [check...], "what": [check...], "args"?: [check...], "bars"?: [check...],
#   "oblige"?: [obligation...]}: it applies when every check holds. "args" are of permissions that allow, "bars" of those
#   that deny.
# check = {"path": [...], "op": "...", "value": ...}: "who" paths start at the input, "what" paths at the tool, and those
#   of "args" and "bars" at the arguments.
# obligation = "approval", "mask:<guard>", "rate:<limit>" or "step_up:<acr or amr>".
# All of it is made by control_plane/compiler/policy.py from what people write: core.identity.Permission.
#
# input = {"user": principal or null, "agent": principal or null, "roles": [name...], "endpoint": name,
#          "action": action, "ctx": {"acr"?, "amr"?, "auth"?, "date"?, "hour"?, "ip"?, "time"?, "weekday"?}, "args"?:
#          {declared path: value}, and for a decision what it is about, or all of which some may be visible:
#            "tools/call":     "tool": target      or "tools": [target...]
#            "prompts/get":    "prompt": target    or "prompts": [target...]
#            "resources/read": "resource": target  or "resources": [target...]}
# principal = {"name"?, "groups": [...], "attributes": {...}}
# target = {"name", "upstream_name", "server", "risk", "labels": {...}, "read_only": bool}; of a resource the names are
#   URIs, and in a list of templates the templates as they are written.
#
# An absent attribute and a value of another type satisfy no check, whatever its operator. But an argument of another
# type bars: its type is the caller's choice. Without `args` the arguments are not known yet, as in a list: what some
# arguments may allow is allowed, and what some arguments bar is not barred.
package toolgate.authz

default decision := {"allow": false, "reasons": ["policy_undefined"]}

decision := {"allow": false, "reasons": sort(refusals)} if {
	count(refusals) > 0
} else := {"allow": true, "reasons": sort(grants), "obligations": sort(obligations)} if {
	count(grants) > 0
	count(obligations) > 0
} else := {"allow": true, "reasons": sort(grants)} if {
	count(grants) > 0
} else := {"allow": false, "reasons": ["no_permission"]} if {
	some role in input.roles
	data.roles[role]
} else := {"allow": false, "reasons": ["no_role"]}

default visible := []

visible := [target.name | some target in listed; permitted(target)]

listed := input.tools if {
	input.action == "tools/call"
} else := input.prompts if {
	input.action == "prompts/get"
} else := input.resources if {
	input.action == "resources/read"
}

asked := input.tool if {
	input.action == "tools/call"
} else := input.prompt if {
	input.action == "prompts/get"
} else := input.resource if {
	input.action == "resources/read"
}

permitted(target) if {
	count(granting(target)) > 0
	count(denying(target)) == 0
	unrefused(target)
}

unrefused(target) if {
	input.action == "tools/call"
	count(tenant_refusals) == 0 with input.tool as target
} else if {
	input.action == "prompts/get"
	count(tenant_refusals) == 0 with input.prompt as target
} else if {
	input.action == "resources/read"
	count(tenant_refusals) == 0 with input.resource as target
}

grants := {concat(":", ["role", role]) | some role in granting(asked)}

refusals := {concat(":", ["denied_by_role", role]) | some role in denying(asked)} | tenant_refusals

granting(tool) := {held.role | some held in allows; applies(held, tool)}

denying(tool) := {held.role | some held in denies; applies(held, tool)}

# What the caller's roles hold, looked up once.
allows := [{"role": role, "set": set} | some role in input.roles; set := of_kind(data.roles[role]).allow]

denies := [{"role": role, "set": set} | some role in input.roles; set := of_kind(data.roles[role]).deny]

of_kind(role) := role if {
	input.action == "tools/call"
} else := role.prompts if {
	input.action == "prompts/get"
} else := role.resources if {
	input.action == "resources/read"
}

applies(held, tool) if {
	some permission in held.set.exact[tool.upstream_name]
	matches(permission, tool)
} else if {
	some permission in held.set.globs
	matches(permission, tool)
}

matches(permission, tool) if {
	every check in permission.what { holds(check, object.get(tool, check.path, null)) }
	every check in permission.who { holds(check, object.get(input, check.path, null)) }
	argued(permission)
}

argued(permission) if {
	not permission.args
	not permission.bars
} else if {
	permission.args
	not input.args
} else if {
	every check in permission.args { holds(check, object.get(input.args, check.path, null)) }
} else if {
	every check in permission.bars { barred(check, input.args[check.path[0]]) }
}

barred(check, value) if {
	holds(check, value)
} else if {
	foreign(check, value)
}

foreign(check, value) if {
	check.op == "contains"
	not is_string(value)
	not is_array(value)
} else if {
	check.op in {"in", "not_in"}
	not type_name(value) in {type_name(other) | some other in check.value}
} else if {
	not check.op in {"contains", "in", "not_in"}
	type_name(value) != type_name(check.value)
}

# What every permission that allows asks for, and the tenant's own policies.
obligations := role_obligations | tenant_obligations

role_obligations := {duty |
	data.obliges
	some held in allows
	some permission in candidates(held.set)
	some duty in permission.oblige
	matches(permission, asked)
}

tenant_obligations := {duty |
	some name
	oblige := data.toolgate.tenant[name].oblige
	some duty in tenant_duties(oblige)
}

# Whatever a tenant's `oblige` is, only the empty set obliges to nothing: what is no obligation nobody can meet.
tenant_duties(oblige) := oblige if {
	is_set(oblige)
} else := {"malformed"}

candidates(set) := array.concat(
	object.get(set, ["exact", asked.upstream_name], []),
	object.get(set, "globs", []),
)

# Which permissions applied, and what kept the others from it. For people: no gateway asks this.
explain := {
	"decision": decision,
	"applied": [origin(one) | some one in considered; matches(one.permission, asked)],
	"missed": [object.union(origin(one), {"failed": failed(one.permission)}) |
		some one in considered
		not matches(one.permission, asked)
	],
	"denied_by": {name: reasons |
		some name
		deny := data.toolgate.tenant[name].deny
		reasons := tenant_reasons(deny)
		count(reasons) > 0
	},
	"obliged_by": {name: duties |
		some name
		oblige := data.toolgate.tenant[name].oblige
		duties := tenant_duties(oblige)
		count(duties) > 0
	},
}

considered := [{"role": role, "effect": effect, "permission": permission} |
	some role in input.roles
	some effect, set in of_kind(data.roles[role])
	effect in {"allow", "deny"}
	some permission in candidates(set)
]

origin(one) := {"role": one.role, "effect": one.effect, "permission": object.get(one.permission, "n", 0)}

failed(permission) := array.concat(
	array.concat(
		[check | some check in permission.what; not holds(check, object.get(asked, check.path, null))],
		[check | some check in permission.who; not holds(check, object.get(input, check.path, null))],
	),
	array.concat(
		[check | some check in permission.args; not holds(check, object.get(input.args, check.path, null))],
		[check | some check in permission.bars; not barred(check, input.args[check.path[0]])],
	),
)

holds(check, value) if {
	check.op == "named"
	named(check.value, value)
} else if {
	check.op == "eq"
	value == check.value
} else if {
	check.op == "in"
	value in check.value
} else if {
	check.op == "contains"
	includes(value, check.value)
} else if {
	check.op == "cidr"
	is_string(value)
	some network in check.value
	net.cidr_contains(network, value)
} else if {
	check.op == "ne"
	type_name(value) == type_name(check.value)
	value != check.value
} else if {
	check.op == "not_in"
	type_name(value) in {type_name(other) | some other in check.value}
	not value in check.value
} else if {
	check.op == "risk"
	compares(check.than, risks[value], check.value)
} else if {
	# Rego orders all values, of different types too: every string is greater than every number.
	orderable(value, check.value)
	compares(check.op, value, check.value)
}

orderable(a, b) if {
	is_number(a)
	is_number(b)
} else if {
	is_string(a)
	is_string(b)
}

compares("lt", a, b) if a < b

compares("lte", a, b) if a <= b

compares("gt", a, b) if a > b

compares("gte", a, b) if a >= b

risks := {"low": 0, "medium": 1, "high": 2, "critical": 3}

# The compiler sorts globs by how they are matched: a pattern costs a compilation of RE2, the others next to nothing.
named(globs, name) if {
	globs.exact[name]
} else if {
	some prefix in globs.prefixes
	startswith(name, prefix)
} else if {
	some suffix in globs.suffixes
	endswith(name, suffix)
} else if {
	some pattern in globs.patterns
	regex.match(pattern, name)
}

includes(value, member) if {
	is_array(value)
	member in value
} else if {
	is_string(value)
	is_string(member)
	contains(value, member)
}

tenant_refusals := {reason |
	some name
	deny := data.toolgate.tenant[name].deny
	some reason in tenant_reasons(deny)
}

# Whatever a tenant's `deny` is, only the empty set lets pass.
tenant_reasons(deny) := {tenant_reason(code) | some code in deny} if {
	is_set(deny)
} else := {"tenant:malformed"}

tenant_reason(code) := concat(":", ["tenant", code]) if {
	is_string(code)
} else := "tenant:unnamed"
