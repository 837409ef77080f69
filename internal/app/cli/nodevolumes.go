package cli

import (
	"fmt"

	"github.com/spf13/pflag"

	"berth.dev/berth/internal/app/node"
)

// volumeFlags are a node's options about volumes.
type volumeFlags struct{ node.VolumeConfig }

func (f *volumeFlags) register(flags *pflag.FlagSet) {
	flags.StringArrayVar(&f.EFS, "efs", nil, "what an EFS file system is on this node: fs-0123456789abcdef0=/directory, or =nfs://server/export?mount-option=value; may be repeated")
	flags.StringArrayVar(&f.EFSAccessPoints, "efs-access-point", nil, "what an EFS access point is: fsap-0123456789abcdef0=fs-0123456789abcdef0:/directory[,uid=N,gid=N,mode=0755]; may be repeated")
	flags.StringVar(&f.EBS.Dir, "ebs-dir", env("BERTH_EBS_DIR", ""), "directory for EBS volumes, as sparse files (default: in the data directory) (BERTH_EBS_DIR)")
	flags.StringVar(&f.EBS.VolumeGroup, "ebs-volume-group", env("BERTH_EBS_VOLUME_GROUP", ""), "LVM volume group for EBS volumes, instead of sparse files (BERTH_EBS_VOLUME_GROUP)")
	flags.BoolVar(&f.EBS.Overcommit, "ebs-overcommit", false, "let EBS volumes on sparse files promise more than the disk has left")
}

// args says to an agent what was said to up.
func (f *volumeFlags) args() []string {
	args := []string{
		"--ebs-dir", f.EBS.Dir, "--ebs-volume-group", f.EBS.VolumeGroup, "--ebs-overcommit=" + fmt.Sprint(f.EBS.Overcommit),
	}
	for _, system := range f.EFS {
		args = append(args, "--efs", system)
	}
	for _, point := range f.EFSAccessPoints {
		args = append(args, "--efs-access-point", point)
	}
	return args
}
