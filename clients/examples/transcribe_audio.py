"""Writes down what is said in a WAV file, segment by segment as the server has them.

python clients/examples/transcribe_audio.py --url grpc://127.0.0.1:8001 recording.wav
"""

from __future__ import annotations

import argparse
from contextlib import closing
from pathlib import Path

from modelyard_client import Client
from modelyard_client.tasks import SpeechRecogniser


def main() -> None:
    """Prints each segment with its times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="grpc://127.0.0.1:8001")
    parser.add_argument("--language", default="", help="such as en; left out, it is found out")
    parser.add_argument("--beam-size", type=int)
    parser.add_argument("audio", type=Path, metavar="WAV")
    arguments = parser.parse_args()
    with Client(arguments.url, deadline=3600) as client:
        asked = SpeechRecogniser(client).transcribe(
            arguments.audio, language=arguments.language, beam_size=arguments.beam_size
        )
        # Left early, by Ctrl-C too, the server stops its work.
        with closing(asked) as segments:
            for segment in segments:
                print(f"{segment.start:8.2f} {segment.end:8.2f}  {segment.text}", flush=True)


if __name__ == "__main__":
    main()
