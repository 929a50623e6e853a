package archtest

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"strconv"
	"strings"
)

// File is what the checks know of one Go file.
type File struct {
	Path      string // from the root of the repository
	Package   string
	Test      bool
	Generated bool
	Doc       string // the package comment
	Imports   []string
	Types     []string
	Init      bool
	Skips     bool // calls Skip, Skipf or SkipNow
}

// Folder returns the folder of the file.
func (f File) Folder() string { return path.Dir(f.Path) }

// Load parses all Go files below fsys, in order of their paths. Folders whose names begin with a dot or an underscore,
// and those named testdata, are left out, as the Go tools do.
func Load(fsys fs.FS) ([]File, error) {
	var files []File
	err := fs.WalkDir(fsys, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if name != "." && (strings.HasPrefix(entry.Name(), ".") || strings.HasPrefix(entry.Name(), "_") ||
				entry.Name() == "testdata") {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		text, err := fs.ReadFile(fsys, name)
		if err != nil {
			return fmt.Errorf("reading %s: %w", name, err)
		}
		file, err := parse(name, text)
		if err != nil {
			return fmt.Errorf("parsing %s: %w", name, err)
		}
		files = append(files, file)
		return nil
	})
	return files, err
}

func parse(name string, text []byte) (File, error) {
	tree, err := parser.ParseFile(token.NewFileSet(), name, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return File{}, err
	}
	file := File{
		Path: name, Package: tree.Name.Name, Test: strings.HasSuffix(name, "_test.go"),
		Generated: ast.IsGenerated(tree), Doc: tree.Doc.Text(),
	}
	for _, spec := range tree.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return File{}, err
		}
		file.Imports = append(file.Imports, imported)
	}
	for _, declaration := range tree.Decls {
		switch d := declaration.(type) {
		case *ast.FuncDecl:
			file.Init = file.Init || d.Recv == nil && d.Name.Name == "init"
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				if t, ok := spec.(*ast.TypeSpec); ok {
					file.Types = append(file.Types, t.Name.Name)
				}
			}
		}
	}
	file.Skips = skips(tree)
	return file, nil
}

// skips reports whether a test is skipped somewhere in the file. (Skip of other types than those of package testing
// means other things.)
func skips(tree *ast.File) bool {
	found := false
	ast.Inspect(tree, func(node ast.Node) bool {
		switch f := node.(type) {
		case *ast.FuncDecl:
			found = found || skipsIn(f.Type, f.Body)
		case *ast.FuncLit:
			found = found || skipsIn(f.Type, f.Body)
		}
		return true
	})
	return found
}

// skipsIn reports whether a function skips the test that it gets as a parameter.
func skipsIn(signature *ast.FuncType, body *ast.BlockStmt) bool {
	if body == nil {
		return false
	}
	for name := range testParameters(signature) {
		found := false
		ast.Inspect(body, func(node ast.Node) bool {
			if inner, ok := node.(*ast.FuncLit); ok && declares(inner.Type, name) {
				return false // another thing by the same name
			}
			call, ok := node.(*ast.CallExpr)
			if !ok {
				return true
			}
			selector, ok := call.Fun.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			receiver, ok := selector.X.(*ast.Ident)
			found = found || ok && receiver.Name == name && strings.HasPrefix(selector.Sel.Name, "Skip")
			return true
		})
		if found {
			return true
		}
	}
	return false
}

// testParameters returns the names of the parameters whose type is one of package testing.
func testParameters(signature *ast.FuncType) map[string]bool {
	names := map[string]bool{}
	for _, field := range signature.Params.List {
		kind := field.Type
		if pointer, ok := kind.(*ast.StarExpr); ok {
			kind = pointer.X
		}
		selector, ok := kind.(*ast.SelectorExpr)
		if !ok {
			continue
		}
		if from, ok := selector.X.(*ast.Ident); !ok || from.Name != "testing" {
			continue
		}
		for _, name := range field.Names {
			names[name.Name] = true
		}
	}
	return names
}

func declares(signature *ast.FuncType, name string) bool {
	for _, field := range signature.Params.List {
		for _, declared := range field.Names {
			if declared.Name == name {
				return true
			}
		}
	}
	return false
}
