package conf

import "fmt"

// Layer is one of the sources that a configuration is put together from. Higher ones win.
type Layer uint8

// Layers, lowest first.
const (
	LayerDefault Layer = iota
	LayerFile
	LayerEnvironment
	LayerFlag
)

// String names the layer.
func (l Layer) String() string {
	switch l {
	case LayerDefault:
		return "default"
	case LayerFile:
		return "file"
	case LayerEnvironment:
		return "environment"
	case LayerFlag:
		return "flag"
	}
	return fmt.Sprintf("Layer(%d)", uint8(l))
}

// baseName is the source of the built-in defaults.
const baseName = "base.yml"

// Origin is where a value, or a mistake, is.
type Origin struct {
	Layer Layer
	// Source is the file's name or the environment variable's.
	Source string
	// Line counts from 1; 0 where there are no lines.
	Line int
}

// String shows the origin as people look for it: file:line, environment NAME, --set, default.
func (o Origin) String() string {
	switch o.Layer {
	case LayerFile:
		if o.Line == 0 {
			return o.Source
		}
		return fmt.Sprintf("%s:%d", o.Source, o.Line)
	case LayerEnvironment:
		return "environment " + o.Source
	case LayerFlag:
		return "--set"
	case LayerDefault:
		if o.Source != "" && o.Source != baseName {
			return "default, " + o.Source
		}
	}
	return o.Layer.String()
}

// Note tells a user something about a value that is fine as such.
type Note struct {
	Key    string
	Origin Origin
	Text   string
}

// String is the note on one line.
func (n Note) String() string {
	return fmt.Sprintf("%v: %s has no effect: %s", n.Origin, n.Key, n.Text)
}
