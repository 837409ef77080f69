// Chatter writes numbered lines to its standard output until SIGTERM, and then how many they were to standard error.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	terminated := make(chan os.Signal, 1)
	signal.Notify(terminated, syscall.SIGTERM)
	tick := time.NewTicker(time.Millisecond)
	for n := 0; ; n++ {
		fmt.Println("line", n)
		select {
		case <-terminated:
			fmt.Fprint(os.Stderr, "lines ", n+1)
			return
		case <-tick.C:
		}
	}
}
