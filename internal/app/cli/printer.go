package cli

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// printer tells a person what happens; scripts read standard output instead.
type printer struct {
	w      io.Writer
	colour bool
}

func newPrinter(w io.Writer) *printer { return &printer{w: w, colour: wantsColour(w)} }

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
	if !p.colour {
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
	if p.colour {
		fmt.Fprintf(p.w, "\r\x1b[K"+format, args...) //nolint:errcheck // nobody is left to tell
	}
}

// clear takes back what live showed.
func (p *printer) clear() {
	if p.colour {
		fmt.Fprint(p.w, "\r\x1b[K") //nolint:errcheck // nobody is left to tell
	}
}

// hint shows a command to type next.
func (p *printer) hint(format string, args ...any) {
	p.say("    %s", p.paint("36", fmt.Sprintf(format, args...)))
}
