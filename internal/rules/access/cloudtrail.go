package access

// cloudtrail follows the Service Authorization Reference of AWS CloudTrail.
var cloudtrail = join(
	rows(row{}, "DescribeTrails", "ListTrails", "LookupEvents"),
	rows(row{on: []target{{path: "Name", arn: plain("cloudtrail", "trail/")}}}, "GetTrailStatus"),
)
