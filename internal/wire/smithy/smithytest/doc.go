// Package smithytest helps tests to deal with any shape by its schema: to draw
// random values, to put them into shapes and to take them out again. Values are
// trees of any: bool, int64, float64, string, []byte, time.Time, []any, and
// map[string]any for maps and structures alike.
//
// For tests only.
package smithytest
