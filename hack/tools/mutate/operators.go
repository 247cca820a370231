package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"strings"
)

// mutant is one change of one file: text replaces the bytes from offset start to end.
type mutant struct {
	file       string
	line       int
	name       string
	start, end int
	text       string
}

// swaps maps each operator to the one that replaces it. A comparison moves by one. Conditions that always or never hold
// are tried where a condition decides.
var swaps = map[token.Token][]token.Token{
	token.LSS: {token.LEQ}, token.LEQ: {token.LSS}, token.GTR: {token.GEQ}, token.GEQ: {token.GTR},
	token.ADD: {token.SUB}, token.SUB: {token.ADD}, token.MUL: {token.QUO}, token.QUO: {token.MUL}, token.REM: {token.MUL},
	token.AND: {token.OR}, token.OR: {token.AND}, token.XOR: {token.AND}, token.SHL: {token.SHR}, token.SHR: {token.SHL},
	token.INC: {token.DEC}, token.DEC: {token.INC},
	token.ADD_ASSIGN: {token.SUB_ASSIGN, token.ASSIGN}, token.SUB_ASSIGN: {token.ADD_ASSIGN, token.ASSIGN},
	token.MUL_ASSIGN: {token.QUO_ASSIGN}, token.QUO_ASSIGN: {token.MUL_ASSIGN},
	token.AND_ASSIGN: {token.OR_ASSIGN, token.ASSIGN}, token.OR_ASSIGN: {token.AND_ASSIGN, token.ASSIGN},
}

// mutate returns every mutant of a file, in the order of the source. Some of them do not compile.
func mutate(name string, src []byte) ([]mutant, error) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, name, src, parser.SkipObjectResolution)
	if err != nil {
		return nil, fmt.Errorf("parsing: %w", err)
	}
	m := &mutator{name: name, src: src, fset: fset, lines: strings.Split(string(src), "\n")}
	ast.PreorderStack(file, nil, func(n ast.Node, stack []ast.Node) bool {
		switch n.(type) {
		case *ast.ImportSpec, *ast.CommentGroup:
			return false
		}
		m.stack = stack
		m.expression(n)
		m.statement(n)
		return true
	})
	slices.SortStableFunc(m.found, func(a, b mutant) int { return a.start - b.start })
	seen := map[string]int{}
	for i, found := range m.found {
		if seen[found.name]++; seen[found.name] > 1 {
			m.found[i].name += fmt.Sprintf(" #%d", seen[found.name])
		}
	}
	return m.found, nil
}

type mutator struct {
	name  string
	src   []byte
	fset  *token.FileSet
	lines []string
	stack []ast.Node // what is around the node
	found []mutant
}

func (m *mutator) offset(p token.Pos) int { return m.fset.Position(p).Offset }

func (m *mutator) of(n ast.Node) string { return string(m.src[m.offset(n.Pos()):m.offset(n.End())]) }

func (m *mutator) parent() ast.Node { return m.stack[len(m.stack)-1] }

// add adds a mutant: text replaces the source between two positions. The name of the mutant shows the change, and stays
// the same when other parts of the file change.
func (m *mutator) add(operator string, from, end token.Pos, text, to string) {
	at := m.fset.Position(from)
	found := mutant{file: m.name, line: at.Line, start: at.Offset, end: m.offset(end), text: text}
	function := "-"
	for _, n := range m.stack {
		if f, ok := n.(*ast.FuncDecl); ok {
			function = f.Name.Name
		}
	}
	if to == "" {
		to = text
	}
	was, _, more := strings.Cut(string(m.src[found.start:found.end]), "\n")
	if more {
		was += " …"
	}
	found.name = fmt.Sprintf("%s %s: %s [%s: %s -> %s]", m.name, function, strings.TrimSpace(m.lines[at.Line-1]), operator, was, to)
	m.found = append(m.found, found)
}

func (m *mutator) replace(operator string, n ast.Node, text, to string) {
	m.add(operator, n.Pos(), n.End(), text, to)
}

func (m *mutator) swap(at token.Pos, op token.Token) {
	for _, to := range swaps[op] {
		m.add("operator", at, at+token.Pos(len(op.String())), to.String(), "")
	}
}

func (m *mutator) expression(n ast.Node) {
	switch n := n.(type) {
	case *ast.BinaryExpr:
		m.swap(n.OpPos, n.Op)
		// An operand is removed: a test that notices this also notices && in place of ||.
		for _, operand := range []ast.Expr{n.X, n.Y} {
			switch n.Op {
			case token.LAND:
				m.replace("operand", operand, "(("+m.of(operand)+") || true)", "true")
			case token.LOR:
				m.replace("operand", operand, "(("+m.of(operand)+") && false)", "false")
			}
		}
	case *ast.UnaryExpr:
		if n.Op == token.SUB || n.Op == token.XOR {
			m.replace("operator", n, m.of(n.X), "")
		}
	case *ast.BasicLit:
		m.literal(n)
	case *ast.CompositeLit:
		for i, e := range n.Elts {
			end := n.Rbrace
			if i+1 < len(n.Elts) {
				end = n.Elts[i+1].Pos()
			}
			m.add("element", e.Pos(), end, "", "(dropped)")
		}
	case *ast.SliceExpr:
		for _, bound := range []ast.Expr{n.Low, n.High} {
			if bound != nil && !n.Slice3 {
				m.replace("bound", bound, "", "(dropped)")
			}
		}
	case *ast.CallExpr:
		if _, alone := m.parent().(*ast.ExprStmt); alone {
			return
		}
		if f, ok := n.Fun.(*ast.SelectorExpr); ok && len(n.Args) == 0 {
			m.replace("call", n, m.of(f.X), "")
		}
		if f := m.of(n.Fun); len(n.Args) > 0 && f != "len" && f != "make" {
			m.replace("call", n, m.of(n.Args[0]), "")
		}
	}
}

// literal changes constants, except the texts of errors.
func (m *mutator) literal(n *ast.BasicLit) {
	switch n.Kind {
	case token.INT, token.CHAR:
		m.replace("constant", n, "("+n.Value+"+1)", "")
		m.replace("constant", n, "("+n.Value+"-1)", "")
	case token.STRING:
		for _, around := range m.stack {
			if call, ok := around.(*ast.CallExpr); ok && slices.Contains([]string{"errors.New", "fmt.Errorf"}, m.of(call.Fun)) {
				return
			}
		}
		text, err := strconv.Unquote(n.Value)
		switch _, tag := m.parent().(*ast.Field); {
		case err != nil || tag:
			m.replace("constant", n, `""`, "")
		case text == "":
			m.replace("constant", n, `"x"`, "")
		default:
			last := len(text) - 1
			m.replace("constant", n, strconv.Quote(text[:last]+string(text[last]^1)), "")
		}
	}
}

// statement removes or changes a statement. A removed one is put behind "if false", so that its variables stay used.
func (m *mutator) statement(n ast.Node) {
	switch n := n.(type) {
	case *ast.IfStmt:
		m.condition(n.Cond)
	case *ast.ForStmt:
		m.loop(n.Body)
	case *ast.RangeStmt:
		m.loop(n.Body)
	case *ast.SwitchStmt:
		m.cases(n)
	case *ast.ReturnStmt:
		m.results(n)
	case *ast.AssignStmt:
		m.swap(n.TokPos, n.Tok)
		for _, e := range n.Rhs {
			if decides(e) {
				m.condition(e)
			}
		}
		if n.Tok != token.DEFINE {
			m.remove(n)
		}
	case *ast.IncDecStmt:
		m.swap(n.TokPos, n.Tok)
		m.remove(n)
	case *ast.ExprStmt, *ast.DeferStmt, *ast.GoStmt, *ast.SendStmt, *ast.BranchStmt:
		m.remove(n)
	}
}

func (m *mutator) remove(n ast.Node) {
	switch m.parent().(type) {
	case *ast.BlockStmt, *ast.CaseClause, *ast.CommClause:
		m.replace("statement", n, "if false { "+m.of(n)+" }", "(removed)")
	}
}

func (m *mutator) condition(e ast.Expr) {
	text := m.of(e)
	m.replace("condition", e, "(("+text+") || true)", "true")
	m.replace("condition", e, "(("+text+") && false)", "false")
}

// decides reports whether an expression is certainly a bool. It does not know types.
func decides(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.BinaryExpr:
		return slices.Contains([]token.Token{token.EQL, token.NEQ, token.LSS, token.LEQ, token.GTR, token.GEQ, token.LAND, token.LOR}, e.Op)
	case *ast.UnaryExpr:
		return e.Op == token.NOT
	}
	return false
}

// loop ends a loop before or after its first iteration.
func (m *mutator) loop(body *ast.BlockStmt) {
	m.add("loop", body.Lbrace, body.Lbrace+1, "{ if true { break }; ", "{ break")
	m.add("loop", body.Rbrace, body.Rbrace+1, "; break }", "break }")
}

// cases removes each case of a switch over values. In a switch over conditions it makes each condition true or false, and
// swaps it with the next one, because their order counts.
func (m *mutator) cases(s *ast.SwitchStmt) {
	for i, c := range s.Body.List {
		c := c.(*ast.CaseClause)
		if s.Tag != nil {
			m.replace("case", c, "", "(dropped)")
			continue
		}
		for _, e := range c.List {
			m.condition(e)
		}
		if i+1 == len(s.Body.List) {
			return
		}
		if next := s.Body.List[i+1].(*ast.CaseClause); c.List != nil && next.List != nil { // a default may stand anywhere
			m.add("case", c.Pos(), next.End(), m.of(next)+"\n"+m.of(c)+"\n", "(after the next)")
		}
	}
}

// results makes a function return zero values, or true.
func (m *mutator) results(n *ast.ReturnStmt) {
	var types []string
	for _, around := range m.stack {
		var f *ast.FuncType
		switch around := around.(type) {
		case *ast.FuncDecl:
			f = around.Type
		case *ast.FuncLit:
			f = around.Type
		default:
			continue
		}
		types = nil
		if f.Results == nil {
			continue
		}
		for _, field := range f.Results.List {
			types = append(types, slices.Repeat([]string{m.of(field.Type)}, max(1, len(field.Names)))...)
		}
	}
	if len(types) != len(n.Results) {
		return
	}
	for i, t := range types {
		values := []string{"*new(" + t + ")"}
		if t == "bool" {
			values = []string{"false", "true"}
		}
		for _, value := range values {
			was := m.of(n.Results[i])
			if was == value || slices.Contains([]string{"nil", "0", `""`, t + "{}"}, was) {
				continue
			}
			results := make([]string, len(types))
			for j, e := range n.Results {
				results[j] = m.of(e)
			}
			results[i] = value
			to := "return " + strings.Join(results, ", ")
			m.replace("result", n, "if false { "+m.of(n)+" }; "+to, to)
		}
	}
}
