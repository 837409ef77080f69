module berth.dev/berth/tools/apigen

go 1.26.6
