FROM python:3.12-slim

RUN useradd --create-home --uid 10001 perdure
WORKDIR /srv/perdure
COPY pyproject.toml README.md LICENSE ./
COPY app app
COPY memory memory
COPY llm llm
COPY evals evals
RUN pip install --no-cache-dir '.[postgres]'

RUN mkdir /data && chown perdure:perdure /data
USER perdure
ENV PERDURE_HOME=/data PERDURE_HOST=0.0.0.0 PERDURE_PORT=8000 PERDURE_LOG_FORMAT=json
VOLUME /data
EXPOSE 8000
CMD ["perdure", "serve"]
