"""Reads `template.yaml` as CloudFormation would: SAM's transform, then the intrinsic functions.

It raises TemplateError for what the gateway cannot run, so that nothing is left out silently.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from boto3 import Session
from samtranslator.parser.parser import Parser  # type: ignore[import-untyped] # has no types
from samtranslator.translator.translator import Translator  # type: ignore[import-untyped] # same
from samtranslator.yaml_helper import yaml_parse  # type: ignore[import-untyped] # same

from local import ACCOUNT, REGION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

PSEUDO = {
    "AWS::Region": REGION,
    "AWS::AccountId": ACCOUNT,
    "AWS::Partition": "aws",
    "AWS::URLSuffix": "amazonaws.com",
    "AWS::StackName": "map",
}
NO_VALUE = object()
ANY = "ANY"
SCHEDULED_EVENT = '{"source":"aws.events","detail-type":"Scheduled Event","detail":{}}'
# The code is not read from there, but the transform insists on a bucket.
CODE = {"AWS::Serverless::Function": "CodeUri", "AWS::Serverless::LayerVersion": "ContentUri"}

SIMPLE_CALLS: dict[str, Callable[..., Any]] = {
    "Join": lambda separator, items: separator.join(map(str, items)),
    "Split": lambda separator, text: text.split(separator),
    "Select": lambda index, items: items[int(index)],
}

logging.getLogger("samtranslator").setLevel(logging.ERROR)  # it warns of its own metrics


class TemplateError(Exception):
    """The template cannot run here; the message says why."""


@dataclass(frozen=True)
class Function:
    """A Lambda function: `id` is its name in the template, `name` the one on AWS."""

    id: str
    name: str
    handler: str
    timeout: float
    memory: int
    concurrency: int | None
    environment: dict[str, str]
    durable: int | None = None
    """How many seconds an execution may take; None if the function is not durable."""

    @property
    def arn(self) -> str:
        """The function's name in policies, logs and API calls."""
        return f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{self.name}"


@dataclass(frozen=True)
class Authorizer:
    """A REQUEST authorizer: its function's id, identity headers, a policy's seconds in cache."""

    function: str
    headers: tuple[str, ...]
    ttl: int


@dataclass(frozen=True)
class Method:
    """A method of a resource, and the function that it calls."""

    resource: str
    function: str
    authorizer: str | None
    timeout: float


@dataclass(frozen=True)
class GatewayResponse:
    """The form of API Gateway's own responses of one type; None stands for the default."""

    status: int | None
    headers: dict[str, str]
    body: str | None


@dataclass(frozen=True)
class Schedule:
    """A function that is called every `seconds` with `event`, which is JSON."""

    function: str
    seconds: int
    event: str


@dataclass(frozen=True)
class Template:
    """The parts of the template that the local run uses."""

    functions: dict[str, Function]
    schedules: tuple[Schedule, ...] = ()
    stage: str = "live"
    methods: dict[str, dict[str, Method]] = field(default_factory=dict)
    authorizers: dict[str, Authorizer] = field(default_factory=dict)
    responses: dict[str, GatewayResponse] = field(default_factory=dict)
    binary_types: frozenset[str] = frozenset()
    min_compression_bytes: int | None = None
    rate: float | None = None
    burst: int = 0


def load(path: Path, parameters: Mapping[str, str]) -> Template:
    """Return the template with these parameters; the others have their defaults.

    Raises TemplateError if it cannot be transformed or uses a feature that does not run here.
    """
    try:
        transformed = _transform(yaml_parse(path.read_text()), parameters)
    except Exception as error:
        details = [str(cause) for cause in getattr(error, "causes", [])] or [str(error)]
        raise TemplateError(f"{path.name}: {' '.join('; '.join(details).split())}") from error
    resolver = _Resolver(transformed, parameters)
    functions = {name: _function(name, p) for name, p in resolver.each("AWS::Lambda::Function")}
    template = Template(functions, tuple(_schedules(resolver)))
    for _, api in resolver.each("AWS::ApiGateway::RestApi"):
        stages = [properties for _, properties in resolver.each("AWS::ApiGateway::Stage")]
        min_bytes = api.get("MinimumCompressionSize")
        return replace(
            _with_api(template, api["Body"], stages[0]),
            min_compression_bytes=None if min_bytes is None else int(min_bytes),
        )
    return template


def _transform(source: dict[str, Any], parameters: Mapping[str, str]) -> dict[str, Any]:
    for resource in source["Resources"].values():
        if uri := CODE.get(resource["Type"]):
            resource["Properties"][uri] = "s3://local/code"
        if resource["Type"] == "AWS::Serverless::Application":
            resource["Properties"]["Location"] = "https://local/stack"
    translator = Translator({}, Parser(), boto_session=Session(region_name=REGION))
    transformed: dict[str, Any] = translator.translate(source, dict(parameters))
    return transformed


class _Resolver:
    """Replaces intrinsic functions by their values; what only AWS can know becomes its own name."""

    def __init__(self, template: dict[str, Any], parameters: Mapping[str, str]) -> None:
        self.resources = template["Resources"]
        self.conditions = template.get("Conditions", {})
        defaults = {
            name: str(parameter.get("Default", ""))
            for name, parameter in template.get("Parameters", {}).items()
        }
        self.values = PSEUDO | defaults | dict(parameters)

    def each(self, kind: str) -> list[tuple[str, dict[str, Any]]]:
        """Return name and properties of the resources of a type whose condition holds."""
        return [
            (name, self.value(resource["Properties"]))
            for name, resource in self.resources.items()
            if resource["Type"] == kind and self.holds(resource.get("Condition"))
        ]

    def value(self, value: Any) -> Any:
        """Return a value with all intrinsic functions replaced."""
        if isinstance(value, list):
            return [v for v in map(self.value, value) if v is not NO_VALUE]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            [(name, argument)] = value.items()
            if name == "Ref":
                return self._reference(argument)
            if name.startswith("Fn::"):
                return self._call(name.removeprefix("Fn::"), argument)
        values = {k: self.value(v) for k, v in value.items()}
        return {k: v for k, v in values.items() if v is not NO_VALUE}

    def holds(self, condition: Any) -> bool:
        """Tell whether a condition, given or named, is true; no condition counts as true."""
        if condition is None:
            return True
        if isinstance(condition, str):
            return self.holds(self.conditions[condition])
        [(name, argument)] = condition.items()
        if name == "Condition":
            return self.holds(argument)
        if name == "Fn::Equals":
            one, other = self.value(argument)
            return str(one) == str(other)
        held = [self.holds(a) for a in argument]
        return {"Fn::And": all(held), "Fn::Or": any(held), "Fn::Not": not held[0]}[name]

    def _call(self, name: str, argument: Any) -> Any:
        if name == "If":
            condition, yes, no = argument
            return self.value(yes if self.holds(condition) else no)
        if name == "Sub":
            return self._substitute(argument)
        if name == "GetAtt":
            resource, _, attribute = _dotted(argument).partition(".")
            return self._arn(resource) if attribute == "Arn" else _dotted(argument)
        simple = SIMPLE_CALLS.get(name)
        return simple(*self.value(argument)) if simple else f"Fn::{name}"

    def _substitute(self, argument: Any) -> str:
        text, own = (argument, {}) if isinstance(argument, str) else argument

        def replace(match: re.Match[str]) -> str:
            name = match[1]
            if name.startswith("!"):
                return f"${{{name[1:]}}}"
            if name in own:
                return str(self.value(own[name]))
            return str(self.value({"Fn::GetAtt" if "." in name else "Ref": name}))

        return re.sub(r"\$\{([^}]+)\}", replace, text)

    def _reference(self, name: str) -> Any:
        if name == "AWS::NoValue":
            return NO_VALUE
        if name in self.values:
            return self.values[name]
        resource = self.resources.get(name, {})
        if resource.get("Type") in ("AWS::Lambda::Alias", "AWS::Lambda::Version"):
            properties = self.value(resource["Properties"])
            return f"{self._arn(properties['FunctionName'])}:{properties.get('Name', name)}"
        return name

    def _arn(self, resource: str) -> str:
        return f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{resource}"


def _dotted(argument: str | list[str]) -> str:
    return argument if isinstance(argument, str) else ".".join(argument)


def _function(name: str, properties: dict[str, Any]) -> Function:
    concurrency = properties.get("ReservedConcurrentExecutions")
    variables = properties.get("Environment", {}).get("Variables", {})
    return Function(
        id=name,
        name=properties.get("FunctionName", name),
        handler=properties["Handler"],
        timeout=float(properties.get("Timeout", 3)),
        memory=int(properties.get("MemorySize", 128)),
        concurrency=None if concurrency is None else int(concurrency),
        environment={k: str(v) for k, v in variables.items()},
        durable=properties.get("DurableConfig", {}).get("ExecutionTimeout"),
    )


def _schedules(resolver: _Resolver) -> Iterator[Schedule]:
    """Yield the schedules that SAM makes of a function's events Schedule and ScheduleV2."""
    for _, rule in resolver.each("AWS::Events::Rule"):
        if "ScheduleExpression" in rule and rule.get("State") != "DISABLED":
            for target in rule["Targets"]:
                yield _schedule(rule, target)
    for _, schedule in resolver.each("AWS::Scheduler::Schedule"):
        if schedule.get("State") != "DISABLED":
            yield _schedule(schedule, schedule["Target"])


def _schedule(timing: dict[str, Any], target: dict[str, Any]) -> Schedule:
    expression = timing["ScheduleExpression"]
    rate = re.fullmatch(r"rate\((\d+) (minute|hour|day)s?\)", expression)
    if not rate:
        raise TemplateError(f"the schedule {expression} does not run here, only rates do")
    seconds = int(rate[1]) * {"minute": 60, "hour": 3600, "day": 86_400}[rate[2]]
    return Schedule(_function_id(target["Arn"]), seconds, target.get("Input", SCHEDULED_EVENT))


def _with_api(template: Template, body: dict[str, Any], stage: dict[str, Any]) -> Template:
    authorizers = {
        name: _authorizer(definition["x-amazon-apigateway-authorizer"])
        for name, definition in body.get("securityDefinitions", {}).items()
        if "x-amazon-apigateway-authorizer" in definition
    }
    throttle: dict[str, Any] = next(
        (s for s in stage.get("MethodSettings", []) if s["ResourcePath"] == "/*"), {}
    )
    rate = throttle.get("ThrottlingRateLimit")
    return replace(
        template,
        stage=stage["StageName"],
        methods={path: _methods(path, of, authorizers) for path, of in body["paths"].items()},
        authorizers=authorizers,
        responses={
            kind: _response(response)
            for kind, response in body.get("x-amazon-apigateway-gateway-responses", {}).items()
        },
        binary_types=frozenset(body.get("x-amazon-apigateway-binary-media-types", [])),
        rate=None if rate is None else float(rate),
        burst=int(throttle.get("ThrottlingBurstLimit", 0)),
    )


def _authorizer(definition: dict[str, Any]) -> Authorizer:
    headers = []
    for source in definition.get("identitySource", "").split(","):
        kind, _, name = source.strip().rpartition(".")
        if definition["type"] != "request" or kind != "method.request.header":
            raise TemplateError(
                f"a {definition['type']} authorizer by {source!r} does not run here"
            )
        headers.append(name.lower())
    return Authorizer(
        function=_function_id(definition["authorizerUri"]),
        headers=tuple(headers),
        ttl=int(definition.get("authorizerResultTtlInSeconds", 300)),
    )


def _methods(
    path: str, operations: dict[str, Any], authorizers: dict[str, Authorizer]
) -> dict[str, Method]:
    methods = {}
    for name, operation in operations.items():
        integration = operation.get("x-amazon-apigateway-integration", {})
        if integration.get("type", "").lower() != "aws_proxy":
            continue  # a mock for CORS, or parameters shared by the methods
        required = [name for names in operation.get("security", []) for name in names]
        method = ANY if name == "x-amazon-apigateway-any-method" else name.upper()
        methods[method] = Method(
            resource=path,
            function=_function_id(integration["uri"]),
            authorizer=next((name for name in required if name in authorizers), None),
            timeout=integration.get("timeoutInMillis", 29_000) / 1000,
        )
    return methods


def _function_id(uri: str) -> str:
    """Return the id of the function that an integration's URI names."""
    match = re.search(r":function:([^:/]+)", uri)
    if not match:
        raise TemplateError(f"{uri} is not a Lambda function")
    return match[1]


def _response(response: dict[str, Any]) -> GatewayResponse:
    prefix = "gatewayresponse.header."
    status = response.get("statusCode")
    return GatewayResponse(
        status=None if status is None else int(status),
        headers={
            name.removeprefix(prefix): value
            for name, value in response.get("responseParameters", {}).items()
            if name.startswith(prefix)
        },
        body=response.get("responseTemplates", {}).get("application/json"),
    )
