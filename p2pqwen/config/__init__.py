"""Settings, read once: `config.toml` in the home and the environment.

`P2PQWEN_HOME` overrides where everything is stored; otherwise platformdirs decides. `P2PQWEN_DHT_BOOTSTRAP` overrides
the nodes through which the DHT is entered. `HF_ENDPOINT`, `HF_TOKEN`, `HF_HOME` and `HF_HUB_CACHE` keep the meaning
they have for huggingface_hub.
"""
