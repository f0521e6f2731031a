#!/bin/sh
# A plan loads only in the very version of TensorRT that built it. Holds two file systems to the same one:
#
#   check_tensorrt.sh SERVER_ROOT [OWN_ROOT]
set -eu

# The version as the library's own file name says it, such as 11.0.1.
version() {
    find "$1/usr" "$1/opt" -type f -name 'libnvinfer.so.*.*.*' 2>/dev/null \
        | sed 's/.*libnvinfer\.so\.//' | sort -u | tr '\n' ' ' | sed 's/ $//'
}

server=$(version "$1")
own=$(version "${2:-}")
if [ -z "$server" ] || [ "$server" != "$own" ]; then
    echo "The server's image has TensorRT ${server:-none}, this one ${own:-none}: plans built here would not load" \
        "there. Build plans in an image with the server's version; see docs/tensorrt.md." >&2
    exit 1
fi
echo "TensorRT $server, as the server's image"
