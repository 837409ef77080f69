package cli

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"berth.dev/berth/internal/agent/runtime/containerd"
	"berth.dev/berth/internal/app/node"
)

func newImage(e *environment) *cobra.Command {
	cmd := &cobra.Command{
		Use: "image", Short: "Images of this host's node", Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newImageImport(e))
	return cmd
}

func newImageImport(e *environment) *cobra.Command {
	var as, address string
	cmd := &cobra.Command{
		Use: "import FILE...|-", Short: "Import images from docker save or OCI archives", Args: arguments(cobra.MinimumNArgs(1)),
		Long: `Import images into the node of this host, from archives as docker save and OCI tools write
them, - being standard input. The names of the images are printed.`,
		Example: `  berth image import my-app.tar
  docker save my-app:latest | berth image import -
  berth image import layout.tar --as my-app:latest`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if as != "" && len(args) > 1 {
				return misuse("--as names one image; import one archive at a time")
			}
			inst, err := e.existing()
			if err != nil {
				return err
			}
			if os.Geteuid() != 0 {
				return errors.New("images belong to containerd, which needs root: run it with sudo")
			}
			log, err := logger(e.err, "warn")
			if err != nil {
				return err
			}
			all := []string{}
			for _, arg := range args {
				archive, err := e.open(arg)
				if err != nil {
					return err
				}
				names, err := containerd.Import(cmd.Context(), node.Runtime(inst, address, "", log), archive, as)
				if err := errors.Join(err, archive.Close()); err != nil {
					return fmt.Errorf("importing %s: %w", arg, err)
				}
				all = append(all, names...)
			}
			if e.output == formJSON {
				return e.writeJSON(map[string]any{"images": all})
			}
			for _, name := range all {
				if _, err := fmt.Fprintln(e.out, name); err != nil {
					return err
				}
			}
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&as, "as", "", "name of the image, instead of the archive's")
	flags.StringVar(&address, "containerd", env("BERTH_CONTAINERD", ""), "containerd's socket, as given to up (BERTH_CONTAINERD)")
	outputFlag(e, cmd)
	return cmd
}

// open opens a file, or standard input for "-".
func (e *environment) open(name string) (io.ReadCloser, error) {
	if name == "-" {
		return io.NopCloser(e.in), nil
	}
	return os.Open(name)
}
