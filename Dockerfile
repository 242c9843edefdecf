FROM python:3.11-slim

# The package index that PyTorch comes from. CPU wheels make a far smaller image than the default CUDA ones.
ARG TORCH_INDEX=

RUN useradd --create-home chatbot
WORKDIR /home/chatbot

# PyTorch by itself, before the sources: its large layer is kept when only the sources change.
COPY pyproject.toml source/
RUN pip install --no-cache-dir ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} \
    "$(grep -o 'torch==[0-9.]*' source/pyproject.toml)"

COPY . source/
RUN pip install --no-cache-dir './source[postgres,redis]' \
    && mv source/configs configs && rm -r source \
    && install --directory --owner chatbot --group chatbot var

USER chatbot
VOLUME /home/chatbot/var
ENV CHATBOT_HOST=0.0.0.0
EXPOSE 8000
CMD ["chatbot", "serve"]
