package main

import (
	"fmt"
	"os"

	"github.com/hashicorp/go-cty-funcs/cidr"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/tryfunc"
	"github.com/hashicorp/hcl/v2/ext/typeexpr"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"
)

// functions are those of Terraform's that our modules use; with another one a
// condition can not be evaluated, which counts as a refusal.
var functions = map[string]function.Function{
	"alltrue": function.New(&function.Spec{
		Params: []function.Parameter{{Name: "list", Type: cty.List(cty.Bool)}},
		Type:   function.StaticReturnType(cty.Bool),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			all := cty.True
			for _, value := range args[0].AsValueSlice() {
				all = all.And(value)
			}
			return all, nil
		},
	}),
	"can":         tryfunc.CanFunc,
	"cidrnetmask": cidr.NetmaskFunc,
	"compact":     stdlib.CompactFunc,
	"contains":    stdlib.ContainsFunc,
	"file": function.New(&function.Spec{
		Params: []function.Parameter{{Name: "path", Type: cty.String}},
		Type:   function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			data, err := os.ReadFile(args[0].AsString())
			return cty.StringVal(string(data)), err
		},
	}),
	"floor":      stdlib.FloorFunc,
	"jsonencode": stdlib.JSONEncodeFunc,
	"length":     stdlib.LengthFunc,
	"regex":      stdlib.RegexFunc,
}

// defaults are the values of the variables that have one.
func (m *module) defaults() map[string]cty.Value {
	values := map[string]cty.Value{}
	for name, variable := range m.variables {
		if attribute := variable.Body.Attributes["default"]; attribute != nil {
			values[name], _ = attribute.Expr.Value(nil)
		}
	}
	return values
}

// refuses returns why a variable does not take its value among those given, or "".
func (m *module) refuses(name string, values map[string]cty.Value) string {
	variable := m.variables[name]
	if variable == nil {
		return "there is no such variable"
	}
	typed := map[string]cty.Value{}
	for name, value := range values {
		if m.variables[name] == nil {
			continue
		}
		t, diagnostics := typeexpr.TypeConstraint(m.variables[name].Body.Attributes["type"].Expr)
		if diagnostics.HasErrors() {
			return diagnostics.Error()
		}
		converted, err := convert.Convert(value, t)
		if err != nil {
			return fmt.Sprintf("it is no %s: %s", t.FriendlyName(), err)
		}
		typed[name] = converted
	}
	for _, validation := range variable.Body.Blocks {
		result, diagnostics := validation.Body.Attributes["condition"].Expr.Value(&hcl.EvalContext{
			Variables: map[string]cty.Value{"var": cty.ObjectVal(typed)}, Functions: functions,
		})
		if diagnostics.HasErrors() {
			return diagnostics.Error()
		}
		if !result.True() {
			message, _ := validation.Body.Attributes["error_message"].Expr.Value(nil)
			return message.AsString()
		}
	}
	return ""
}
