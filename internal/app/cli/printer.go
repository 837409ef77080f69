package cli

import (
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// printer tells a person what happens; scripts read standard output instead.
type printer struct {
	w        io.Writer
	colour   bool
	terminal bool // what was printed may be taken back
	shown    int  // lines of the live block
}

func newPrinter(w io.Writer) *printer {
	return &printer{w: w, colour: wantsColour(w), terminal: isTerminal(w)}
}

func wantsColour(w io.Writer) bool {
	_, refused := os.LookupEnv("NO_COLOR")
	return !refused && isTerminal(w)
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

func (p *printer) paint(code, text string) string {
	if !p.colour || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (p *printer) say(format string, args ...any) {
	fmt.Fprintf(p.w, format+"\n", args...) //nolint:errcheck // nobody is left to tell
}

// done says that something is achieved.
func (p *printer) done(format string, args ...any) {
	p.say("%s %s", p.paint("32", "✓"), fmt.Sprintf(format, args...))
}

// failed says that something is not.
func (p *printer) failed(format string, args ...any) {
	p.say("%s %s", p.paint("31", "✗"), fmt.Sprintf(format, args...))
}

// live shows what is waited for, on a terminal only, until clear.
func (p *printer) live(format string, args ...any) {
	p.block([]string{fmt.Sprintf(format, args...)})
}

// block shows lines that change, on a terminal only, in the place of those
// that it showed before, until clear. Lines that are too wide are cut, so that
// what was shown can be taken back.
func (p *printer) block(lines []string) {
	if !p.terminal {
		return
	}
	width, height := p.size()
	lines = lines[:min(len(lines), height-1)]
	var b strings.Builder
	b.WriteString(p.erase())
	for i, line := range lines {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(cut(line, width-1))
	}
	p.shown = len(lines)
	fmt.Fprint(p.w, b.String()) //nolint:errcheck // nobody is left to tell
}

// erase goes back to where the block began, and empties the screen from there.
func (p *printer) erase() string {
	if p.shown > 1 {
		return fmt.Sprintf("\r\x1b[%dA\x1b[J", p.shown-1)
	}
	return "\r\x1b[J"
}

// clear takes back what live or block showed.
func (p *printer) clear() {
	if p.terminal && p.shown > 0 {
		fmt.Fprint(p.w, p.erase()) //nolint:errcheck // nobody is left to tell
		p.shown = 0
	}
}

// size is the terminal's, or the classic one when it does not tell.
func (p *printer) size() (width, height int) {
	if f, ok := p.w.(*os.File); ok {
		if size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ); err == nil && size.Col > 0 && size.Row > 1 {
			return int(size.Col), int(size.Row)
		}
	}
	return 80, 24
}

// cut shortens a line to what is visible in so many columns. Colours take no
// room, and are ended.
func cut(line string, columns int) string {
	var b strings.Builder
	used, coloured := 0, false
	for len(line) > 0 {
		if strings.HasPrefix(line, "\x1b[") {
			end := strings.IndexByte(line, 'm') + 1
			b.WriteString(line[:end])
			coloured = line[:end] != "\x1b[0m"
			line = line[end:]
			continue
		}
		if used == columns {
			if coloured {
				b.WriteString("\x1b[0m")
			}
			break
		}
		_, size := utf8.DecodeRuneInString(line)
		b.WriteString(line[:size])
		line = line[size:]
		used++
	}
	return b.String()
}

// hint shows a command to type next.
func (p *printer) hint(format string, args ...any) {
	p.say("    %s", p.paint("36", fmt.Sprintf(format, args...)))
}
