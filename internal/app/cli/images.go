package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/spf13/cobra"
)

func newImages(e *environment) *cobra.Command {
	cmd := &cobra.Command{
		Use: "images [REPOSITORY]", Short: "List the images of Berth's registry, and who runs them", Args: arguments(cobra.MaximumNArgs(1)),
		Long: `List the images of Berth's registry, newest first, with the services and tasks of all
clusters that run them. Images that only this host's Docker or a node has are not listed:
berth push puts them there.`,
		Example: `  berth images
  berth images my-app -o json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := e.connect(cmd)
			if err != nil {
				return err
			}
			only := ""
			if len(args) > 0 {
				only = args[0]
			}
			all, err := c.images(cmd.Context(), only)
			if err != nil {
				return err
			}
			if e.output == formJSON {
				return e.writeJSON(all)
			}
			if len(all) == 0 {
				newPrinter(e.err).say("The registry has no image here. Push one: berth push IMAGE")
				return nil
			}
			_, err = fmt.Fprint(e.out, imageTable(all, time.Now()))
			return err
		},
	}
	outputFlag(e, cmd)
	cmd.ValidArgsFunction = e.completeRepositories
	return cmd
}

// listedImage is a line of `berth images`.
type listedImage struct {
	Repository string    `json:"repositoryName"`
	URI        string    `json:"repositoryUri"`
	Tags       []string  `json:"imageTags"`
	Digest     string    `json:"imageDigest"`
	Size       int64     `json:"imageSizeInBytes"`
	Pushed     time.Time `json:"imagePushedAt"`
	UsedBy     []string  `json:"usedBy"` // services, and tasks of none
}

func (c *clients) images(ctx context.Context, only string) ([]listedImage, error) {
	repositories, err := c.repositories(ctx, only)
	if err != nil {
		return nil, err
	}
	used, err := c.imageUsers(ctx)
	if err != nil {
		return nil, err
	}
	all := []listedImage{}
	for _, r := range repositories {
		for pages := ecr.NewDescribeImagesPaginator(c.ecr, &ecr.DescribeImagesInput{RepositoryName: r.RepositoryName}); pages.HasMorePages(); {
			page, err := pages.NextPage(ctx)
			if err != nil {
				return nil, fmt.Errorf("listing the images of %s: %w", aws.ToString(r.RepositoryName), explained(err))
			}
			for _, d := range page.ImageDetails {
				all = append(all, listed(&r, &d, used))
			}
		}
	}
	slices.SortStableFunc(all, func(a, b listedImage) int {
		if order := strings.Compare(a.Repository, b.Repository); order != 0 {
			return order
		}
		return b.Pushed.Compare(a.Pushed)
	})
	return all, nil
}

func listed(r *types.Repository, d *types.ImageDetail, used imageUsers) listedImage {
	one := listedImage{
		Repository: aws.ToString(r.RepositoryName), URI: aws.ToString(r.RepositoryUri), Tags: slices.Clone(d.ImageTags),
		Digest: aws.ToString(d.ImageDigest), Size: aws.ToInt64(d.ImageSizeInBytes), Pushed: aws.ToTime(d.ImagePushedAt),
	}
	slices.Sort(one.Tags)
	if one.Tags == nil {
		one.Tags = []string{}
	}
	one.UsedBy = used.of(one.URI, one.Digest)
	return one
}

// imageUsers are the services and tasks that run images, by the repository's
// name and the digest.
type imageUsers map[[2]string][]string

func (u imageUsers) of(uri, digest string) []string {
	users := slices.Clone(u[[2]string{uri, digest}])
	slices.Sort(users)
	users = slices.Compact(users)
	if users == nil {
		return []string{}
	}
	return users
}

// imageUsers looks at the tasks of all clusters.
func (c *clients) imageUsers(ctx context.Context) (imageUsers, error) {
	used := imageUsers{}
	for pages := ecs.NewListClustersPaginator(c.ecs, &ecs.ListClustersInput{}); pages.HasMorePages(); {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, explained(err)
		}
		for _, cluster := range page.ClusterArns {
			arns, err := c.list(ctx, cluster, "", ecstypes.DesiredStatusRunning)
			if err != nil {
				return nil, err
			}
			tasks, _, err := c.describe(ctx, cluster, arns)
			if err != nil {
				return nil, err
			}
			for i := range tasks {
				used.add(&tasks[i])
			}
		}
	}
	return used, nil
}

func (u imageUsers) add(t *ecstypes.Task) {
	who, isService := strings.CutPrefix(aws.ToString(t.Group), "service:")
	if !isService {
		who = "task " + short(taskID(t))
	}
	for _, c := range t.Containers {
		key := [2]string{withoutTag(aws.ToString(c.Image)), aws.ToString(c.ImageDigest)}
		u[key] = append(u[key], who)
	}
}

// withoutTag is the name of an image without tag and digest.
func withoutTag(image string) string {
	name, _, _ := strings.Cut(image, "@")
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		name = name[:i]
	}
	return name
}

func imageTable(all []listedImage, now time.Time) string {
	rows := [][]string{{"REPOSITORY", "TAGS", "DIGEST", "SIZE", "PUSHED", "USED BY"}}
	for _, i := range all {
		rows = append(rows, []string{
			i.Repository, dash(strings.Join(i.Tags, ", ")), shortDigest(i.Digest), megabytes(i.Size), age(now.Sub(i.Pushed)) + " ago",
			dash(strings.Join(i.UsedBy, ", ")),
		})
	}
	return columns(rows)
}
