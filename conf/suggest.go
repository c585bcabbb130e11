package conf

import (
	"slices"
	"strings"
)

// unknown reports a key that is not there, with the nearest one that is.
func (l *loader) unknown(at Origin, path string) {
	if l.sections[path] {
		l.problem(ErrUnknownKey, at, "%s is a section; its keys are: %s", path, l.keysOf(path))
		return
	}
	if near := l.nearest(path); near != "" {
		l.problem(ErrUnknownKey, at, "unknown key %.100q, did you mean %s?", path, near)
		return
	}
	section := path
	for section != "" {
		section = parentOf(section)
		if section == "" || l.sections[section] {
			break
		}
	}
	if section == "" {
		l.problem(ErrUnknownKey, at, "unknown key %.100q; the sections are: %s", path, l.keysOf(""))
		return
	}
	l.problem(ErrUnknownKey, at, "unknown key %.100q; the keys of %s are: %s", path, section, l.keysOf(section))
}

func parentOf(path string) string {
	i := strings.LastIndexByte(path, '.')
	if i < 0 {
		return ""
	}
	return path[:i]
}

// keysOf lists the names directly below a section, sorted; "" lists the sections.
func (l *loader) keysOf(section string) string {
	names := make(map[string]bool)
	for path := range l.byPath {
		if section != "" {
			rest, ok := strings.CutPrefix(path, section+".")
			if !ok {
				continue
			}
			path = rest
		}
		name, _, _ := strings.Cut(path, ".")
		names[name] = true
	}
	list := make([]string, 0, len(names))
	for name := range names {
		list = append(list, name)
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}

// nearest returns the key or section that path was most likely meant to be, or "": the one with
// the fewest letters to change, within a third of the path; failing that, the only key of the same
// name in another section.
func (l *loader) nearest(path string) string {
	const longestSuggested = 80
	if len(path) > longestSuggested {
		return ""
	}
	best, bestDistance := "", (len(path)+2)/3
	sameName, sameNames := "", 0
	for _, candidate := range l.paths() {
		if distance := editDistance(path, candidate); distance < bestDistance || distance == bestDistance && best == "" {
			best, bestDistance = candidate, distance
		}
		if lastName(candidate) == lastName(path) {
			sameName = candidate
			sameNames++
		}
	}
	if best == "" && sameNames == 1 {
		return sameName
	}
	return best
}

// paths returns all keys and sections, sorted, so that of equally near ones it is always the same.
func (l *loader) paths() []string {
	return slices.Sorted(func(yield func(string) bool) {
		for path := range l.byPath {
			if !yield(path) {
				return
			}
		}
		for path := range l.sections {
			if !yield(path) {
				return
			}
		}
	})
}

func lastName(path string) string { return path[strings.LastIndexByte(path, '.')+1:] }

// editDistance counts the bytes to insert, delete or replace to get from a to b.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replace := diagonal
			if a[i] != b[j] {
				replace++
			}
			diagonal = row[j+1]
			row[j+1] = min(replace, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
